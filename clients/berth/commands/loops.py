"""Loops of a shell text over GPUs: `for i in 0 1 2 3; do CUDA_VISIBLE_DEVICES=$i … & done`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from berth.commands.words import Word

_BRACES = re.compile(r"\{(\d{1,3})\.\.(\d{1,3})\}")
_SEQUENCE = re.compile(r"(?:\$\(|`)\s*seq\s+(\d{1,3})(?:\s+(\d{1,3}))?\s*(?:\)|`)")
_VARIABLE = re.compile(r"CUDA_VISIBLE_DEVICES=\"?\$(?:\{(\w+)\}|(\w+))\"?")


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
