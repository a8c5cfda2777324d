"""Counts in one piece of a log: "31% 50/160", "Epoch [1/3]", "iter 100", "[12] train-rmse"."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice

from berth_server.core.progress import vocabulary

# Possessive: what follows is not to be made fit by giving up digits.
_NUMBER = r"(?:\d{1,3}(?:,\d{3})++|\d{1,15}+(?:\.\d{1,9}+)?)"
_PAIR = re.compile(
    rf"(?<![\w./,:])(?P<n>{_NUMBER})(?P<nk>[kKM]?)\s*(?:/|\bof\b|\bout of\b)\s*(?P<t>{_NUMBER})(?P<tk>[kKMG]?)"
    r"(?![\w./]*[/.]\d)(?!\s*(?:[KMGT]i?B|bytes|%)\b)(?P<unit>[a-zA-Z]{0,12})"
)
_DATE = re.compile(r"\d{1,2}/\d{1,2}\s+\d\d:\d\d(?::\d\d)?(?:[\s\].,]|$)")
# Directly after a colon stands either the count ("step:100/500") or the end of a time.
_AFTER_COLON = re.compile(
    rf"(?<=[a-zA-Z\])]:)(?P<n>{_NUMBER})(?P<nk>)/(?P<t>{_NUMBER})(?P<tk>)(?P<unit>)(?![\w./])"
)
_INDEX = re.compile(
    r"(?<![a-zA-Z])(?P<label>(?:[a-zA-Z]{1,20}[ _]){0,3}"
    r"(?:epochs?|steps?|iter(?:ation)?s?|updates?|batch(?:es)?|rounds?|timesteps|stages?|phases?|folds?|"
    r"cycles?|trials?))"
    r"(?:\s?\(\w{1,12}\))?['\"\s:=|#\[(]{1,24}(?P<n>\d{1,15}(?:\.\d{1,9})?)(?![\w./]|,\d{3}|\s?%|\s*(?:/|of\b)\s*\d)",
    re.IGNORECASE,
)
_ROW = re.compile(r"^\s*(?:\[(?P<a>\d{1,12})\]|(?P<b>\d{1,12}):)\s+(?=[a-zA-Z])")
_PERCENT = re.compile(
    r"(?:progress|complete[d]?|done|finished|\[[#=*> .-]{5,80}\])"
    r"[\W_]{1,80}?(?P<a>\d{1,3}(?:\.\d{1,6})?)\s?%"
    r"|(?<![\w.])(?P<b>\d{1,3}(?:\.\d{1,6})?)\s?%\s?(?:done|complete|finished)"
    r"|[━╸╺█▓▒░▉-▏]{3}\W{0,40}?(?P<c>\d{1,3}(?:\.\d{1,6})?)\s?%(?!\w)"
    r"|^\s*\d{1,12}\s\((?P<d>\d{1,3}(?:\.\d{1,6})?)%\)\s",
    re.IGNORECASE,
)
_BAR = re.compile(r"\d{1,3}%(?:\|[^|]{0,300}\||[^\w|]{1,80})\s*$")
# Rich draws all bars anew, one below the other.
_BLOCK = re.compile(r"[━╸╺]{3}\s*$")
_CLOCK = re.compile(r"\s*(?P<unit>[a-zA-Z]*)\s*\[(?P<a>(?:\d+:)?\d{1,3}:\d\d)<")
_INNER = re.compile(r"(?<![\d.])(?P<n>\d{1,7})\s*:?\s*\[\s*$")
_OWN_COUNT = re.compile(r"[ :=#\[(]{1,3}\d")
_DECIMAL = re.compile(r"\d\.\d")
_WORDS = re.compile(r"[a-zA-Z_]+")
_CUT = re.compile(r"[|\],;{}()]|\s-\s|\.\s|/")
_MOST = 8
"""Most counts of one piece."""
_PERCENT_LABEL = "percent"
_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Count:
    """One number that may be how far something is."""

    label: str
    """The words before it, small letters."""
    value: float
    total: float | None
    """None for a number without one."""
    bar: bool = False
    """True if a bar is drawn with it, whose number is of what is done."""
    elapsed_s: float | None = None
    """The bar's own clock."""
    depth: int = 0
    """Number of bars above it."""
    measured: bool = False
    """True if a loss, a learning rate or the like stands in the same text."""
    whole: bool = True
    """True if it was written without a decimal point."""
    counted: bool = False
    """True if what is done is what it counts: a bar of either kind."""
    within: tuple[Count, ...] = ()
    """Those before it in the same text."""

    @property
    def key(self) -> tuple[str, float | None, bool]:
        """Key by which it is the same counter: a bar of five is not the five epochs."""
        return self.label, self.total, self.drawn

    @property
    def drawn(self) -> bool:
        """True if it belongs to a bar that has a place on the screen."""
        return self.bar and self.label != _PERCENT_LABEL

    @property
    def outer(self) -> bool:
        """True if its label says that it holds many steps."""
        return vocabulary.outer(self.label)


def counts_in(text: str, depth: int = 0) -> list[Count]:
    """The counts of one piece of a log, in order; those that are surely beside the run left out."""
    measured = vocabulary.measured(text)
    found: list[tuple[int, int, Count]] = []
    indices = [
        (match.start(), match.end("n"), _index(text, match, measured=measured))
        for match in islice(_INDEX.finditer(text), _MOST)
    ]
    end = 0
    pairs = [*islice(_PAIR.finditer(text), _MOST), *islice(_AFTER_COLON.finditer(text), _MOST)]
    for match in sorted(pairs, key=re.Match.start):
        if match.start() < end:
            continue
        after = max([end, *(stop for _, stop, _ in indices if stop <= match.start())])
        found += _pair(text, match, after, depth, measured=measured)
        end = match.end()
    taken = [(start, stop) for start, stop, _ in found]
    found += [
        (start, stop, count)
        for start, stop, count in indices
        if count is not None and not any(a < stop and start < b for a, b in taken)
    ]
    if not found:
        found += _lonely(text, measured=measured)
    found.sort(key=lambda one: one[0])
    return _nested(text, found)


def _index(text: str, match: re.Match[str], *, measured: bool) -> Count | None:
    words = _WORDS.findall(match["label"] + text[match.end("label") : match.start("n")])
    label = " ".join(words).lower()
    words_before = _before(text, match.start()) + " " + label
    if vocabulary.beside(words_before) or vocabulary.no_count(words_before):
        return None
    if vocabulary.setting(label):
        return None
    return Count(label, float(match["n"]), None, measured=measured, whole="." not in match["n"])


def _lonely(text: str, *, measured: bool) -> list[tuple[int, int, Count]]:
    """A percentage that is said to be of what is done, or the number that a row begins with."""
    match = _PERCENT.search(text)
    if match is not None:
        value = float(next(group for group in match.groups() if group))
        if value > 100 or vocabulary.beside(_before(text, match.start())):
            return []
        count = Count(_PERCENT_LABEL, value, 100.0, bar=True, measured=measured)
        return [(match.start(), match.end(), count)]
    match = _ROW.match(text) if measured else None
    if match is None:
        return []
    return [(0, match.end(), Count("round", float(match["a"] or match["b"]), None, measured=True))]


def _nested(text: str, found: list[tuple[int, int, Count]]) -> list[Count]:
    """Each with those before it that hold it."""
    nested: list[Count] = []
    ends: list[int] = []
    behind = [one for _, _, one in found if one.outer and one.whole and one.total]
    results = _DECIMAL.search(text) is not None
    for start, stop, seen in found:
        # "Epoch 3/10 | Train: 85.1%": results of a turn that is over.
        over = results and seen.outer and not seen.bar
        count = replace(seen, measured=True) if over else seen
        outer = tuple(
            one
            for one, end in zip(nested, ends, strict=True)
            if one.outer and one.whole and not count.outer and "}" not in text[end:start]
        )
        if not outer and len(nested) == 1 and count.bar and nested[0].total and not nested[0].bar:
            # "3/100  2.1G … 640: 50%| 5/10": the first counts what holds the bar.
            outer = (nested[0],)
        if not outer and "batch" in count.label and not count.outer:
            outer = tuple(behind[:1])  # "Batch 5/50 Epoch 1/5"
        nested.append(replace(count, within=outer) if outer else count)
        ends.append(stop)
    return nested


def _pair(
    text: str, match: re.Match[str], after: int, depth: int, *, measured: bool
) -> list[tuple[int, int, Count]]:
    value = _number(match["n"]) * _SCALE[match["nk"]]
    total = _number(match["t"]) * _SCALE[match["tk"]]
    start, stop = match.span()
    behind = text[stop : stop + 60]
    before = text[after:start]
    bar = _BAR.search(before)
    if total <= 0 or value > total * 1000 or vocabulary.other_unit(behind):
        return []
    if _DATE.match(text, start):
        return []
    elapsed_s = None
    found: list[tuple[int, int, Count]] = []
    if bar is not None:
        label = _described(before[: bar.start()])
        clock = _CLOCK.match(text, match.start("unit"))
        if clock is not None:
            elapsed_s = _seconds(clock["a"])
            if vocabulary.beside(clock["unit"]):
                return []
    else:
        label = " ".join(_WORDS.findall(_before(text, start, after))[-4:]).lower()
        implicit = _INNER.search(text, max(after, start - 24), start)
        if implicit is not None and not _INDEX.search(text, after, start):
            # "Train: 0 [  50/1251 (  4%)]": the number before the bracket counts what holds it.
            found.append(
                (implicit.start(), implicit.start() + 1, Count("epoch", float(implicit["n"]), None))
            )
    if vocabulary.beside(label) or vocabulary.beside(match["unit"]):
        return []
    if bar is None and (vocabulary.no_count(label) or vocabulary.no_count(match["unit"])):
        return []
    if bar is None:
        label = _counted_noun(text, match) or label
    whole = "." not in match["n"] and not match["nk"]
    found.append(
        (
            start,
            stop,
            Count(
                label,
                value,
                total,
                bar is not None,
                elapsed_s,
                depth,
                measured,
                whole,
                counted=bar is not None or _BLOCK.search(before) is not None,
            ),
        )
    )
    return found


def _counted_noun(text: str, match: re.Match[str]) -> str | None:
    """Noun that is counted, where it stands behind: "3/10epoch started", "3/10 epochs"."""
    if vocabulary.noun_class(_last_word(text[: match.start()])):
        return None
    behind = _WORDS.match(text, match.start("unit")) or _WORDS.match(text, match.end() + 1)
    if behind is None or not vocabulary.noun_class(behind[0]):
        return None
    # "5/50 Epoch 1/5": that word has a count of its own.
    return None if _OWN_COUNT.match(text, behind.end()) else behind[0].lower()


def _last_word(text: str) -> str:
    words = _WORDS.findall(text[-30:])
    return words[-1] if words else ""


def _described(text: str) -> str:
    """A bar's description: it ends in a colon, and what is glued before it does not count."""
    text = text.rstrip()
    if not text.endswith(":"):
        # Ignite's brackets: "Epoch [1/3]: [25/50]" have their own pairs.
        return ""
    text = re.split(r"[\]})|]", text[:-1])[-1]
    return " ".join(_WORDS.findall(text[-60:])[-4:]).lower()


def _before(text: str, start: int, after: int = 0) -> str:
    """The words before a count that belong to it."""
    return _CUT.split(text[max(after, start - 60) : start])[-1] or ""


def _number(digits: str) -> float:
    return float(digits.replace(",", ""))


def _seconds(clock: str) -> float:
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds
