"""Pages of an attempt's log: bytes and lines."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass, field

from berth.protocol.logs import LogLines
from berth.terminal import shown_bytes
from berth_server.service.errors import NotFound
from berth_server.service.jobs import lookup
from berth_server.service.logs import tail
from berth_server.service.logs.line_times import line_times
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
    started: bool = False
    """The attempt has started, so that there was a log."""

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
    return LogFile(
        record.id,
        record.run_dir,
        owner.uid,
        complete=record.state == "ended",
        started=record.started_at is not None,
    )


def read_bytes(log: LogFile, offset: int, limit: int) -> LogBytes:
    """
    Return bytes from an offset; a negative one counts from the end. Empty past the end.

    Raises NotFound for a log that somebody has deleted.
    """
    handle = log.open()
    if handle is None and log.started and log.complete:
        raise NotFound(
            f"The log of attempt {log.attempt} is gone: {log.run_dir}/{LOG_NAME} was deleted, and not "
            "by Berth; restore it from a copy, or run the job again."
        )
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


class LineReader:
    """Pages of lines; remembers where lines begin in the logs read recently."""

    def __init__(self) -> None:
        self._indexes = TailCache(_Index)

    def read(
        self,
        log: LogFile,
        first: int,
        count: int,
        *,
        as_shown: bool = False,
        times: bool = False,
        most_bytes: int = _PAGE_BYTES,
    ) -> LogLines:
        """
        Return `count` lines from number `first`; a negative one counts from the end.

        Lines longer than 64 KiB are cut, and a page ends after `most_bytes` of lines. With `as_shown` a line is
        what a terminal shows of it, with `times` it has the time at which it was written. Raises
        Forbidden.
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
                page = _Page(handle, index.before, index.lines, size)
            lines, ends = page.read(start, count, as_shown=as_shown, most_bytes=most_bytes)
        finally:
            os.close(handle)
        return LogLines(
            times=line_times(log, ends) if times else [],
            attempt=log.attempt,
            first=start,
            lines=lines,
            total=total,
            size_bytes=size,
            complete=log.complete,
        )


@dataclass(slots=True, frozen=True)
class _Page:
    """Lines read from an open log by its index; whatever their length, the work is bounded."""

    handle: int
    before: list[int]
    """Line ends before block N; only appended to."""
    ended: int
    """Line ends in all."""
    size: int

    def read(
        self, first: int, count: int, *, as_shown: bool, most_bytes: int
    ) -> tuple[list[str], list[int]]:
        """
        Return `count` lines from number `first`, fewer where they have `most_bytes`, and the place
        after each.
        """
        found: list[str] = []
        ends: list[int] = []
        taken = 0
        place = self._after(first - 1) if first else 0
        while place < self.size and len(found) < count and taken < most_bytes:
            at = place
            block = os.pread(self.handle, min(tail.BLOCK, self.size - place), place)
            pieces = block.split(b"\n")
            rest = pieces.pop()
            if not pieces and place + len(block) < self.size:
                # Longer than a block: from the index follows where it ends.
                end = self._end(first + len(found))
                pieces, place = [self._long(place, end, as_shown=as_shown)], end + 1
                at = place - len(pieces[0]) - 1
            elif place + len(block) >= self.size:
                pieces += [rest] if rest else []
                place = self.size
            else:
                place += len(block) - len(rest)
            for piece in pieces[: count - len(found)]:
                kept = (shown_bytes(piece) if as_shown else piece)[:_LINE_LIMIT]
                taken += len(kept)
                found.append(kept.decode("utf-8", "replace").rstrip("\r"))
                at += len(piece) + 1
                ends.append(min(at, self.size))
                if taken >= most_bytes:
                    break
        return found, ends

    def _end(self, line: int) -> int:
        """Return where the end of a line is; the size for the last line while it is open."""
        return self._after(line) - (line < self.ended)

    def _after(self, end: int) -> int:
        """Return the place after line end number `end`, counted from 0; the size without it."""
        if end >= self.ended:
            return self.size
        block = bisect_right(self.before, end) - 1
        data = os.pread(self.handle, tail.BLOCK, block * tail.BLOCK)
        place = -1
        for _ in range(end - self.before[block] + 1):
            place = data.find(b"\n", place + 1)
        return block * tail.BLOCK + place + 1

    def _long(self, place: int, end: int, *, as_shown: bool) -> bytes:
        """Return what is looked at of a line longer than a block."""
        head = os.pread(self.handle, min(_LINE_LIMIT, end - place), place)
        if not as_shown:
            return head
        start = max(place, end - tail.BLOCK)
        shown = os.pread(self.handle, end - start, start)
        overwritten = b"\r" in shown.rstrip(b"\r") or b"\r" in head
        return shown if overwritten else head
