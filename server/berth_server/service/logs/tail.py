"""Incremental reading of files that grow: each look reads only what was written since the last."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from berth_server.service.logs.run_files import open_run_file

BLOCK = 1 << 18
_REMEMBERED = 64


@dataclass(slots=True, frozen=True)
class Grown:
    """Text added to a file."""

    data: bytes
    written_at: float
    """Time of the last write, unix seconds; 0 where there is none."""
    from_start: bool
    """True if it is the beginning of the file, or of one that took its place."""


class TailReader:
    """Position in one growing file; a file that was replaced or cut is read from its start."""

    def __init__(self, most_bytes: int | None = None) -> None:
        """Of more new bytes than `most_bytes` in one look only the last are read."""
        self.offset = 0
        self.rest = b""
        """The line at the end that has no line end yet, as `lines` has read it."""
        self.written_at = 0.0
        """Time of the last write, as `lines` saw it; unix seconds."""
        self.restarts = 0
        """Number of times that another file lay in its place, or it was cut."""
        self._most_bytes = most_bytes
        self._inode = 0

    def lines(self, run_dir: str, name: str, uid: int) -> bytes:
        """Return the new whole lines of a file of a run directory. Raises Forbidden."""
        handle = open_run_file(run_dir, name, uid)
        if handle is None:
            return b""
        try:
            facts = os.fstat(handle)
            self.written_at = facts.st_mtime
            if not self.follows(facts):
                self.rest = b""
            if self._most_bytes is not None and facts.st_size - self.offset > self._most_bytes:
                # From one byte earlier: a line that begins just here is whole.
                self.offset = facts.st_size - self._most_bytes - 1
                data = b"".join(self.blocks(handle, facts.st_size)).partition(b"\n")[2]
            else:
                data = self.rest + b"".join(self.blocks(handle, facts.st_size))
        finally:
            os.close(handle)
        whole, newline, self.rest = data.rpartition(b"\n")
        return whole + newline

    def grown(self, run_dir: str, name: str, uid: int) -> Grown:
        """
        Return what was written to a file of a run directory since the last look, lines or not.

        Raises Forbidden.
        """
        handle = open_run_file(run_dir, name, uid)
        if handle is None:
            return Grown(b"", 0.0, from_start=False)
        try:
            facts = os.fstat(handle)
            from_start = not self.follows(facts) or self.offset == 0
            if self._most_bytes is not None and facts.st_size - self.offset > self._most_bytes:
                # The beginning says what the run is, the end how far.
                head = b"".join(self.blocks(handle, self._most_bytes // 8)) if from_start else b""
                self.offset = facts.st_size - self._most_bytes
                data = head + b"\n" + b"".join(self.blocks(handle, facts.st_size))
            else:
                data = b"".join(self.blocks(handle, facts.st_size))
        finally:
            os.close(handle)
        return Grown(data, facts.st_mtime, from_start=from_start)

    def follows(self, facts: os.stat_result) -> bool:
        """Return whether this is the file read so far; go to the start of another one."""
        same = self._inode in {0, facts.st_ino} and self.offset <= facts.st_size
        if not same:
            self.offset = 0
            self.restarts += 1
        self._inode = facts.st_ino
        return same

    def blocks(self, handle: int, end: int) -> Iterator[bytes]:
        """Read on to byte `end`; pieces end at multiples of BLOCK."""
        while self.offset < end:
            room = BLOCK - self.offset % BLOCK
            data = os.pread(handle, min(room, end - self.offset), self.offset)
            if not data:
                return
            self.offset += len(data)
            yield data


class Tailed(Protocol):
    """Facts that are gathered from one file as it grows."""

    tail: TailReader


T = TypeVar("T", bound=Tailed)


class TailCache(Generic[T]):
    """Facts about the files read recently, by run directory; for any number of threads."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._slots: OrderedDict[str, _Slot[T]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def extended(self, run_dir: str, handle: int) -> Generator[tuple[T, int]]:
        """Give one thread the facts to read on, and the file's size; new ones for a new file."""
        with self._lock:
            slot = self._slots.pop(run_dir, None) or _Slot(self._make())
            self._slots[run_dir] = slot
            while len(self._slots) > _REMEMBERED:
                self._slots.popitem(last=False)
        with slot.lock:
            # Asked with the lock held: no other thread has read beyond this size.
            facts = os.fstat(handle)
            if not slot.value.tail.follows(facts):
                slot.value = self._make()
                slot.value.tail.follows(facts)
            yield slot.value, facts.st_size


@dataclass
class _Slot(Generic[T]):
    value: T
    lock: threading.Lock = field(default_factory=threading.Lock)
