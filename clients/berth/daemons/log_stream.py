"""The stream that a daemon logs to: it never raises, and keeps what cannot be written until it can."""

from __future__ import annotations

import io
import os
import threading
from collections import deque

_KEPT_BYTES = 1 << 20


class LogStream(io.TextIOBase):
    """
    Text stream over a descriptor.

    While the disk is full the newest lines, up to a megabyte, stay in memory; the next write or
    `flush` that succeeds puts them out in order, after a line that counts those that were lost.
    Any thread may write.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._lost = 0
        self._lock = threading.RLock()
        self.problem: str | None = None
        """The reason why text waits; None while all of it is written."""

    @property
    def waiting(self) -> int:
        """Number of pieces of text that could not be written yet."""
        return len(self._kept) + self._lost

    def write(self, text: str, /) -> int:
        """Write a text, now or when it can be."""
        data = text.encode(errors="backslashreplace")
        with self._lock:
            self._kept.append(data)
            self._kept_bytes += len(data)
            self._put()
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popleft())
                self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Write what is kept, if it can be written."""
        with self._lock:
            self._put()

    def _put(self) -> None:
        """Write what is kept, as far as that goes."""
        try:
            if self._lost:
                note = f"{self._lost} lines of this log could not be written and are lost\n"
                os.write(self._descriptor, note.encode())
                self._lost = 0
            while self._kept:
                written = os.write(self._descriptor, self._kept[0])
                self._kept_bytes -= written
                if written < len(self._kept[0]):
                    self._kept[0] = self._kept[0][written:]
                else:
                    self._kept.popleft()
        except OSError as error:
            self.problem = error.strerror or str(error)
        else:
            self.problem = None

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Always: what cannot be written is kept."""
        return True
