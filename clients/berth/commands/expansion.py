"""
Variables of a shell text, for reading: plain values, and the words that stand in one.

`ARGS="--nproc_per_node $N"` and `ARGS=(--nproc_per_node "$N")` stand for options wherever
`$ARGS` or `${ARGS[@]}` is written, as long as nothing but the text's order decides their value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from berth.commands.words import Segment, Word, split
from berth.commands.wrappers import is_assignment, name_and_value

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*|\d)(?::?-([\w.,/-]*))?\}|([A-Za-z_]\w*|\d))")
_PLAIN_VALUE = re.compile(r"[\w.,:/@%+=-]*")
_WHOLE = re.compile(r"(?P<quote>\"?)\$(?:\{(?P<braced>\w+)(?P<all>\[[@*]\])?\}|(?P<bare>\w+))\"?")
_SEVERAL = re.compile(
    r"(?P<name>[A-Za-z_]\w*)(?P<more>\+?)=(?P<value>\(.*\)|\"[^\"]*\"|'[^']*')", re.DOTALL
)
_SAFE_PIECE = re.compile(r"(?:[\w.,:/@%+=-]|\$\w+|\$\{\w+\})+")
_OPENING = frozenset({"if", "for", "while", "until", "case", "select"})
_LOOPING = frozenset({"for", "while", "until", "select"})
_CLOSING = frozenset({"fi", "done", "esac"})
_PASSED = frozenset({"then", "else", "elif", "do", "{", "}", "!"})
_MOST_WORDS = 2000
ARGUMENTS = "#"
"""Variable that holds the number of a script's arguments, where they are known."""


@dataclass
class Variables:
    """Variables of a text at one place of it, as far as they are known."""

    plain: dict[str, str]
    """Values that are one word."""
    several: dict[str, tuple[Word, ...]] = field(default_factory=dict[str, tuple[Word, ...]])
    """Values that are several words."""
    depth: int = 0
    """Number of conditions and loops around the place."""
    loops: int = 0
    """Number of loops around it."""
    _after: str = ""

    def enter(self, segment: Segment) -> bool:
        """Step into a segment; return True if it is always run."""
        for each in segment.words:
            if each.raw in _OPENING:
                self.depth += 1
                self.loops += each.raw in _LOOPING
                if each.raw in {"for", "case", "select"}:
                    break
            elif each.raw in _CLOSING:
                self.depth = max(0, self.depth - 1)
                self.loops = max(0, self.loops - (each.raw == "done"))
            elif each.raw not in _PASSED:
                break
        always = self.depth == 0 and self._after not in {"&&", "||"}
        self._after = segment.operator
        return always

    def learn(self, words: Iterable[Word], *, always: bool) -> None:
        """Take the assignments among these words; `always` says that they are made in any case."""
        for each in words:
            found = _SEVERAL.fullmatch(each.raw)
            if found:
                self._learn_several(found, always=always)
            if is_assignment(each):
                name, value = name_and_value(each)
                if not found:
                    self.several.pop(name, None)
                if each.literal:
                    self.plain[name] = value
                else:
                    self.plain.pop(name, None)

    def _learn_several(self, found: re.Match[str], *, always: bool) -> None:
        name, value = found["name"], found["value"]
        pieces = _pieces(value) if always else None
        before = self.several.get(name) if found["more"] else ()
        if pieces is None or before is None:
            self.several.pop(name, None)
            return
        words = [self.resolve(each) for each in self.expand(pieces)]
        if len(before) + len(words) <= _MOST_WORDS:
            self.several[name] = (*before, *words)

    def resolve(self, each: Word) -> Word:
        """Fill in variables that the text itself set to plain values, for reading only."""
        return resolve(each, self.plain)

    def expand(self, words: Iterable[Word]) -> list[Word]:
        """The words with those in the place of `$ARGS` that it stands for, for reading."""
        out: list[Word] = []
        for each in words:
            found = None if each.literal else _WHOLE.fullmatch(each.raw)
            name = found and (found["braced"] or found["bare"])
            if not found or name not in self.several or (found["quote"] and not found["all"]):
                out.append(each)
            else:
                out += self.several[name]
        return out


def _pieces(value: str) -> list[Word] | None:
    """The words of an array, or of a quoted text that a shell splits at its blanks."""
    if value.startswith("("):
        return [each for segment in split(value[1:-1]) for each in segment.words]
    pieces = value[1:-1].replace("\\\n", " ").split()
    if not all(_SAFE_PIECE.fullmatch(piece) for piece in pieces):
        return None
    if value.startswith("'") and "$" in value:
        return None
    return [Word(piece, piece, literal="$" not in piece) for piece in pieces]


def resolve(each: Word, variables: Mapping[str, str]) -> Word:
    """Fill in variables with plain values, for reading only."""
    if each.literal:
        return each
    quoted = len(each.raw) > 1 and each.raw[0] == each.raw[-1] == '"'
    text = each.raw[1:-1] if quoted else each.raw
    filled = _VARIABLE.sub(lambda match: _value(match, variables), text)
    # The limit keeps A=$A$A, said often enough, from filling the memory.
    if len(filled) > 1000 or not _PLAIN_VALUE.fullmatch(filled):
        return each
    return replace(each, text=filled, literal=True)


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    """A variable's value, else the default that `${NAME:-4}` gives, else what was written."""
    name = match[1] or match[3]
    unknown = match[2] is None or (name.isdecimal() and ARGUMENTS not in variables)
    return variables.get(name, match[0] if unknown else match[2])


def positional(arguments: Sequence[str]) -> dict[str, str]:
    """The variables $1, $2, … of a script that is started with these arguments."""
    known = {str(place): value for place, value in enumerate(arguments[:9], 1)}
    return {ARGUMENTS: str(len(arguments)), **known}
