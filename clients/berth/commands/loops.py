"""Loops of a shell text over GPUs: `for i in 0 1 2 3; do CUDA_VISIBLE_DEVICES=$i … & done`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berth.commands.words import Segment, Word

_BRACES = re.compile(r"\{(\d{1,3})\.\.(\d{1,3})\}")
_SEQUENCE = re.compile(r"(?:\$\(|`)\s*seq\s+(\d{1,3})(?:\s+(\d{1,3}))?\s*(?:\)|`)")
_COUNTED = re.compile(
    r"\bfor\s*\(\(\s*(?P<name>\w+)\s*=\s*(?P<low>\d{1,3})\s*;\s*(?P=name)\s*(?P<less><=?)\s*"
    r"(?:(?P<high>\d{1,3})|\$?\{?(?P<known>\w+)\}?)\s*;[^()]{0,40}\)\)"
)
_VARIABLE = re.compile(r"CUDA_VISIBLE_DEVICES=\"?\$(?:\{(\w+)\}|(\w+))\"?")


@dataclass(frozen=True)
class Counted:
    """The head of a loop as in C: `for ((i=0; i<4; i++))`."""

    start: int
    end: int
    variable: str
    low: int
    high: str
    """A number, or the variable that holds it."""
    inclusive: bool

    def values(self, known: Mapping[str, str]) -> tuple[int, ...]:
        """The numbers that it goes through; none where its end is not known."""
        high = known.get(self.high, self.high)
        if not high.isdecimal():
            return ()
        return tuple(range(self.low, min(int(high[:4]), 1024) + self.inclusive))


def counted(source: str) -> list[Counted]:
    """The heads of a text's loops as in C."""
    return [
        Counted(
            found.start(),
            found.end(),
            found["name"],
            int(found["low"]),
            found["high"] or found["known"],
            found["less"] == "<=",
        )
        for found in _COUNTED.finditer(source)
    ]


def around(segment: Segment, heads: Sequence[Counted]) -> Counted | None:
    """The head that a segment is a part of."""
    return next((each for each in heads if each.start <= segment.start < each.end), None)


def loop(words: Sequence[Word]) -> tuple[str, tuple[int, ...]] | None:
    """The variable of `for VARIABLE in …` and its values, where all of them are numbers."""
    if len(words) < 4 or words[0].raw != "for" or words[2].raw != "in":
        return None
    values: list[int] = []
    for each in words[3:]:
        braces, sequence = _BRACES.fullmatch(each.raw), _SEQUENCE.fullmatch(each.raw)
        if braces:
            values += range(int(braces.group(1)), int(braces.group(2)) + 1)
        elif sequence:
            low, high = sequence.groups()
            values += range(int(low), int(high) + 1) if high else range(1, int(low) + 1)
        elif each.literal and each.text.isdecimal():
            values.append(int(each.text[:9]))
        else:
            return None
    return (words[1].raw, tuple(dict.fromkeys(values))) if values else None


def of_assignments(
    assignments: Sequence[Word], loops: Mapping[str, tuple[int, ...]]
) -> tuple[str, tuple[int, ...]] | None:
    """The loop that a call's CUDA_VISIBLE_DEVICES goes through."""
    for each in assignments:
        found = _VARIABLE.fullmatch(each.raw)
        name = found and (found.group(1) or found.group(2))
        if name and name in loops:
            return name, loops[name]
    return None


def placed(variable: str, visible: Sequence[int]) -> str:
    """The assignment that takes the leased GPU at the loop's place, from the first again after the last."""
    listed = " ".join(str(each) for each in visible)
    return f'CUDA_VISIBLE_DEVICES="$(set -- {listed}; shift $(({variable} % $#)); echo "$1")"'
