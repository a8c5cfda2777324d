"""Slurm's compressed lists: nodes (`n[1-3,7],m2`) and GPU indices (`0-1,4`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PART = re.compile(r"(?:[^,\[\]]|\[[^\]]*\])+")
_BRACKETS = re.compile(r"\[([^\]]*)\]")


def nodes(text: str) -> tuple[str, ...]:
    """Return the node names of a host list, in its order; none for `(null)` or an empty one."""
    if not text or text.startswith("(null"):
        return ()
    return tuple(name for part in _PART.findall(text) for name in _expand(part))


def _expand(part: str) -> Iterator[str]:
    found = _BRACKETS.search(part)
    if found is None:
        yield part
        return
    head, tail = part[: found.start()], part[found.end() :]
    for piece in found[1].split(","):
        first, _, last = piece.partition("-")
        width = len(first)
        for number in range(int(first), int(last or first) + 1):
            yield from _expand(f"{head}{number:0{width}d}{tail}")


def indices(text: str) -> frozenset[int]:
    """Return the numbers of a list of ranges; none for `N/A` or an empty one."""
    if not text or text == "N/A":
        return frozenset()
    found: set[int] = set()
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
