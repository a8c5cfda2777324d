"""Pages of an attempt's log: bytes and lines."""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass, field

from berth.protocol.logs import LogLines
from berth.terminal import shown_bytes
from berth_server.service.jobs import lookup
from berth_server.service.logs import tail
from berth_server.service.logs.run_files import LOG_NAME, open_run_file
from berth_server.service.logs.tail import TailCache, TailReader
from berth_server.service.state import ServerState

_LINE_LIMIT = 64 << 10
_PAGE_BYTES = 8 << 20


@dataclass(slots=True, frozen=True)
class LogFile:
    """Location of an attempt's log, and its owner."""

    attempt: str | None
    run_dir: str | None
    uid: int
    complete: bool
    """The attempt has ended, or the job has without one: the log grows no more."""

    def open(self) -> int | None:
        """Return a file descriptor; None while there is no log. Raises Forbidden."""
        return None if self.run_dir is None else open_run_file(self.run_dir, LOG_NAME, self.uid)

    def size(self) -> int:
        """Return the size in bytes; 0 while there is no log."""
        if self.run_dir is None:
            return 0
        try:
            return os.lstat(f"{self.run_dir}/{LOG_NAME}").st_size
        except OSError:
            return 0


@dataclass(slots=True, frozen=True)
class LogBytes:
    """Piece of a log."""

    data: bytes
    offset: int
    """Of the first byte."""
    size: int
    """Of the whole log now, bytes."""


def log_file(server: ServerState, job_id: int, number: int | None) -> LogFile:
    """Return the log of an attempt, the newest without a number. Raises NotFound."""
    record = lookup.attempt(server.db.read, job_id, number)
    owner = lookup.job(server.db.read, job_id)
    if record is None:
        return LogFile(None, None, owner.uid, complete=lookup.state_of(owner).is_final)
    return LogFile(record.id, record.run_dir, owner.uid, complete=record.state == "ended")


def read_bytes(log: LogFile, offset: int, limit: int) -> LogBytes:
    """Return bytes from an offset; a negative one counts from the end. Empty past the end."""
    handle = log.open()
    if handle is None:
        return LogBytes(b"", 0, 0)
    try:
        size = os.fstat(handle).st_size
        start = max(0, size + offset) if offset < 0 else min(offset, size)
        return LogBytes(os.pread(handle, limit, start), start, size)
    finally:
        os.close(handle)


@dataclass
class _Index:
    """Count of line ends before each block, which finds any line at the speed of memory."""

    tail: TailReader = field(default_factory=TailReader)
    before: list[int] = field(default_factory=lambda: [0])
    """Line ends before block N; the last entry is of the block that is not whole yet."""
    lines: int = 0
    """Line ends so far."""

    def extend(self, handle: int, size: int) -> None:
        """Count on to the present end."""
        for data in self.tail.blocks(handle, size):
            self.lines += data.count(b"\n")
            if self.tail.offset % tail.BLOCK == 0:
                self.before.append(self.lines)

    def place(self, line: int) -> tuple[int, int]:
        """Return where to read from, and how many line ends to skip, to reach a line's start."""
        # The last block before which fewer lines have ended: the line begins in or after it.
        block = max(0, bisect_left(self.before, line) - 1)
        return block * tail.BLOCK, line - self.before[block]


class LineReader:
    """Pages of lines; remembers where lines begin in the logs read recently."""

    def __init__(self) -> None:
        self._indexes = TailCache(_Index)

    def read(self, log: LogFile, first: int, count: int, *, as_shown: bool = False) -> LogLines:
        """
        Return `count` lines from number `first`; a negative one counts from the end.

        Lines longer than 64 KiB are cut, and a page ends after 8 MiB. With `as_shown` a line is
        what a terminal shows of it. Raises Forbidden.
        """
        handle = log.open()
        if handle is None:
            return LogLines(
                attempt=log.attempt,
                first=0,
                lines=[],
                total=0,
                size_bytes=0,
                complete=log.complete,
            )
        try:
            with self._indexes.extended(log.run_dir or "", handle) as (index, end):
                index.extend(handle, end)
                size = index.tail.offset
                open_end = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                total = index.lines + (1 if open_end else 0)
                start = max(0, total + first) if first < 0 else min(first, total)
                offset, skip = index.place(start)
            lines = _lines(handle, offset, size, skip, count, as_shown=as_shown)
        finally:
            os.close(handle)
        return LogLines(
            attempt=log.attempt,
            first=start,
            lines=lines,
            total=total,
            size_bytes=size,
            complete=log.complete,
        )


def _lines(
    handle: int, offset: int, end: int, skip: int, count: int, *, as_shown: bool
) -> list[str]:
    lines: list[str] = []
    carry = b""
    taken = 0
    while len(lines) < count and taken < _PAGE_BYTES:
        block = os.pread(handle, min(tail.BLOCK, end - offset), offset) if offset < end else b""
        offset += len(block)
        pieces = (carry + block).split(b"\n")
        # What follows the last line end is a line of its own only at the end of the log.
        carry = pieces.pop() if block else b""
        if not block and pieces == [b""]:
            break
        if skip:
            dropped = min(skip, len(pieces))
            skip -= dropped
            pieces = pieces[dropped:]
        for piece in pieces[: count - len(lines)]:
            taken += len(piece)
            kept = shown_bytes(piece) if as_shown else piece
            lines.append(kept[:_LINE_LIMIT].decode("utf-8", "replace").rstrip("\r"))
        if not block:
            break
    return lines
