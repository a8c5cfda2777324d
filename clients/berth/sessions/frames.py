"""Frames between a session and the terminals attached to it: a letter, a length, that many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

OUTPUT, ERROR, EXIT = b"o", b"e", b"x"
"""From the session: what the program wrote, without a terminal also to stderr; its exit code."""
INPUT, END_OF_INPUT, SIZE = b"i", b"d", b"w"
"""To the session: what was typed, and the end of it; rows and columns of the terminal."""
_HEAD = struct.Struct(">cI")
WINDOW = struct.Struct(">HH")
_LONGEST = 1 << 20


def frame(kind: bytes, payload: bytes) -> bytes:
    """Return one frame."""
    return _HEAD.pack(kind, len(payload)) + payload


class Frames:
    """Reader of frames from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield each frame that is whole. Raises ValueError for what is none."""
        self._pending += data
        while len(self._pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._pending)
            if length > _LONGEST:
                raise ValueError("The frame is too long.")
            if len(self._pending) < _HEAD.size + length:
                return
            payload = bytes(self._pending[_HEAD.size : _HEAD.size + length])
            del self._pending[: _HEAD.size + length]
            yield kind, payload
