"""Pieces of a log: lines, and what a terminal would draw over them, without escapes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BREAKS = re.compile(rb"[\r\n]+")
_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)?|[@-Z\\-_])"
)
_UP = b"\x1b[A"
# Digits look alike, and what bars are drawn with is left out: pieces of one kind get one shape.
_ALIKE = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_LEFT_OUT = bytes([*range(0x80, 0x100), *b" #=>.-\x08"])
_HEAD, _TAIL = 400, 200
_DIGIT = re.compile(rb"[0-9]")
_PAST_EACH = 16
_MOST_PIECES = 160
"""Number of pieces of one look that are read closely."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One line or one drawing of a bar."""

    text: str
    depth: int
    """Number of lines that the cursor went back up: bars that stand above this one."""


@dataclass
class Splitter:
    """Cuts a growing log into pieces, of those of one kind in one look the first and the last."""

    _rest: bytes = field(default=b"", repr=False)

    def pieces(self, data: bytes, *, past: bool = False) -> list[Piece]:
        """
        Return the pieces that tell something, in order; with `past` some of each kind in between.

        A bar is drawn without a line end, so the last piece is read although more may follow.
        """
        parts = _BREAKS.split(self._rest + data)
        self._rest = parts[-1][-_HEAD:]
        places: dict[bytes, list[int]] = {}
        for i, part in enumerate(parts):
            if part:
                shape = part[:_HEAD].translate(_ALIKE, _LEFT_OUT)
                places.setdefault(shape, []).append(i)
        most = _PAST_EACH if past else 2
        chosen = sorted({i for of_kind in places.values() for i in _spread(of_kind, most)})
        chosen = [i for i in chosen if _DIGIT.search(parts[i])]
        if len(chosen) > _MOST_PIECES:
            half = _MOST_PIECES // 2
            chosen = chosen[:half] + chosen[-half:]
        return [_piece(parts[i]) for i in chosen]


def _spread(places: list[int], most: int) -> list[int]:
    """Up to `most` of them, evenly, the first and the last among them."""
    last = len(places) - 1
    if last < most:
        return places
    return [places[i * last // (most - 1)] for i in range(most)]


def _piece(part: bytes) -> Piece:
    depth = part.count(_UP, 0, 4 * _HEAD)
    if len(part) > 4 * (_HEAD + _TAIL):
        part = part[: 2 * _HEAD] + b" \n " + part[-2 * _TAIL :]
    clean = _ESCAPE.sub(b"", part).replace(b"\x08", b"")
    text = clean.decode("utf-8", "replace")
    if len(text) > _HEAD + _TAIL:
        text = text[:_HEAD] + " \n " + text[-_TAIL:]
    return Piece(text, depth)
