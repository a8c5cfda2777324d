"""Totals that stand elsewhere than beside the count: settings that are printed, or of a command."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from berth_server.core.progress import vocabulary
from berth_server.core.progress.counter import Counter
from berth_server.core.progress.work import Work

_SETTING = re.compile(
    r"(?<![a-zA-Z_-])(?P<name>[a-zA-Z][a-zA-Z_ .-]{2,60}?)['\"]?\s{0,8}[:=]\s{0,8}['\"]?(?P<n>\d{1,12})(?![\w./:%-])"
)
_OPTION = re.compile(
    r"(?:^|\s)-{1,2}(?P<name>[a-zA-Z][\w.-]{1,60})[=\s]\s*['\"]?(?P<n>\d{1,12})(?![\w./:])"
)
_ASSIGNED = re.compile(
    r"(?:^|\s)\+{0,2}(?P<name>[a-zA-Z][\w.]{1,60})=['\"]?(?P<n>\d{1,12})(?![\w./:])"
)
_WORTH_A_LOOK = re.compile(
    r"(?:step|epoch|iter|update|round)\w*['\"]?\s*[:=]|total|\bfor\b|duration", re.IGNORECASE
)
# "total steps 150", "training for 5 epochs", "max_duration: 4ep" (Composer: ep epochs, ba batches).
_SENTENCE = re.compile(
    r"\btotal\s+(?:number\s+of\s+)?(?:(?:training|train|optimization|optimizer|update)\s+)?"
    r"(?P<a>steps|iterations|iters|epochs|updates)\s+(?:is\s+|of\s+)?(?P<an>\d{1,12})(?![\w./,])"
    r"|\b(?:train\w*|run\w*|fit\w*|start\w*|going)\s+(?:[a-z]+\s+){0,2}?for\s+(?P<bn>\d{1,12})\s+"
    r"(?P<b>steps|iterations|iters|epochs|updates)\b",
    re.IGNORECASE,
)
# In a script: "EPOCHS = 25", "num_epochs: int = 25", add_argument("--epochs", default=25).
_IN_SCRIPT = re.compile(
    r"^\s*(?:\w+\.)?(?:num_|n_|max_)?epochs\s*(?::\s*int\s*)?=\s*(?P<a>\d{1,9})\s*(?:#.*)?$"
    r"|['\"]--(?:num[_-]|n[_-]|max[_-])?epochs['\"][^\n]*?\bdefault\s*=\s*(?P<b>\d{1,9})\b",
    re.IGNORECASE | re.MULTILINE,
)
_DURATION = re.compile(r"\bmax_duration['\"]?\s?[:=]\s?['\"]?(?P<n>\d{1,12})(?P<unit>ep|ba)\b")


@dataclass
class Totals:
    """Total numbers of steps, epochs and rounds, where they are known."""

    said: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """By kind, everything that the log said."""
    asked: dict[str, int] = field(default_factory=dict[str, int])
    """By kind, what the command says."""
    epochs_in_script: int | None = None
    """Number of epochs that the script sets or has as its default, where it is one number."""

    def read_command(self, command: str) -> None:
        """Take the options of a command line."""
        for pattern in (_OPTION, _ASSIGNED):
            for match in pattern.finditer(command[:20_000]):
                name = match["name"].rpartition(".")[2]
                # An option of this name is rarely the present epoch, as it would be in a log.
                kind = "epoch" if name == "epoch" else vocabulary.total_of(name)
                if kind is not None and int(match["n"]) > 0:
                    self.asked[kind] = int(match["n"])
        for match in _DURATION.finditer(command[:20_000]):
            self.asked["epoch" if match["unit"] == "ep" else "step"] = int(match["n"])

    def read_work(self, work: Work | None) -> None:
        """Take what the job's configuration asks for, where the command does not say."""
        if work is not None and work.amount == int(work.amount):
            self.asked.setdefault(work.unit, int(work.amount))

    def read_script(self, text: str) -> None:
        """Take the number of epochs of a script's text: what the command and the log do not say."""
        found = {int(match["a"] or match["b"]) for match in _IN_SCRIPT.finditer(text)}
        self.epochs_in_script = found.pop() if len(found) == 1 else None

    def read(self, text: str) -> None:
        """Take what a piece of the log says, if it says any."""
        if not _WORTH_A_LOOK.search(text):
            return
        for match in _SENTENCE.finditer(text):
            kind = vocabulary.noun_class(match["a"] or match["b"])
            if kind is not None and int(match["an"] or match["bn"]) > 0:
                self.said.setdefault(kind, set()).add(int(match["an"] or match["bn"]))
        for match in _DURATION.finditer(text):
            kind = "epoch" if match["unit"] == "ep" else "step"
            self.said.setdefault(kind, set()).add(int(match["n"]))
        for match in _SETTING.finditer(text):
            name = match["name"]
            # "steps: 120" may be the present one; what is named in full is a setting.
            if name.lower() != "epochs" and not re.search(r"[ _.-]", name.strip()):
                continue
            kind = vocabulary.total_of(name)
            if kind is not None and int(match["n"]) > 0:
                self.said.setdefault(kind, set()).add(int(match["n"]))

    def of(self, label: str, *, script: bool = True) -> int | None:
        """The total of what a label counts; None where none or several are said."""
        kind = _kind(label)
        if kind is None:
            return None
        if kind in self.asked:
            return self.asked[kind]
        said = self.said.get(kind, set())
        if not said and kind == "epoch":
            return self.epochs_in_script if script else None
        return next(iter(said)) if len(said) == 1 else None

    def counted_by(self, counter: Counter) -> float:
        """Total that a counter counts to; 0 where it is unknown."""
        return counter.total or self.of(counter.label) or 0.0


@lru_cache(maxsize=256)
def _kind(label: str) -> str | None:
    """Kind of what a label counts, by the last of its words that says one."""
    words = reversed(re.split(r"[ _]+", label))
    return next((found for word in words if (found := vocabulary.noun_class(word))), None)
