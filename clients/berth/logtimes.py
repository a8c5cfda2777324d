"""
Time index of a log: how long it was when, one record for each second in which it grew.

The worker appends records beside the log; the server finds with them when a line was written.
Standard library only.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

NAME = "output.times"
_RECORD = struct.Struct("<dQ")
_MOST_BYTES = 64 << 20
"""About six weeks of a log that grows every second; what comes later has no time."""


def append(folder: int, time: float, size: int) -> None:
    """Write down that the log has `size` bytes, in the run directory `folder`. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(NAME, flags, 0o600, dir_fd=folder)
    try:
        if os.fstat(handle).st_size < _MOST_BYTES:
            os.write(handle, _RECORD.pack(time, size))
    finally:
        os.close(handle)


def last_size(folder: int) -> int:
    """Return the size of the log in the last record; 0 without one. Raises OSError."""
    handle = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        records = os.fstat(handle).st_size // _RECORD.size
        return _record(handle, records - 1)[1] if records else 0
    finally:
        os.close(handle)


def times_of(handle: int, ends: Sequence[int]) -> list[float | None]:
    """
    Return when each of some places of the log, in order, was written: the first second in which
    the log was as long. None for what is longer than the last record says. `handle` is the index.
    """
    records = os.fstat(handle).st_size // _RECORD.size
    found: list[float | None] = []
    low = 0
    for end in ends:
        # Neighbouring lines mostly have the same record, or the next.
        if low < records and _record(handle, low)[1] < end:
            high = records
            while low < high:
                middle = (low + high) // 2
                if _record(handle, middle)[1] < end:
                    low = middle + 1
                else:
                    high = middle
        found.append(_record(handle, low)[0] if low < records else None)
    return found


def _record(handle: int, number: int) -> tuple[float, int]:
    return _RECORD.unpack(os.pread(handle, _RECORD.size, number * _RECORD.size))
