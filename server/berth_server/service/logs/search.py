"""Search of a log, and the lines in it worth jumping to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import berth
import berth_server
from berth.protocol.dashboard import LogMarkers, LogMatch, LogMatches
from berth_server.service.errors import Invalid
from berth_server.service.logs.pages import LogFile
from berth_server.service.logs.scanner import Found, Needle
from berth_server.service.logs.tail import TailCache, TailReader

# Where both packages lie: the child runs without site-packages, which halves its start.
_ROOTS = [str(Path(module.__file__ or "").parents[1]) for module in (berth, berth_server)]
_CHILD = (
    "import sys; sys.path += sys.argv[2:]; "
    "from berth_server.service.logs.scanner import main; main()"
)
_SLICE_S = 0.8
_PATIENCE_S = 4.0
# One call must not occupy its thread for ever; the next one reads on.
_SCAN_LIMIT = 1 << 30
_RANKS_IN = 8 << 20
_RANK = re.compile(rb"^\[(?:rank|default)(\d{1,4})\]", re.MULTILINE)
_TRACEBACK = b"Traceback (most recent call last)"
_CHECKPOINTS = (b"aving model checkpoint", b"heckpoint-", b"aved checkpoint", b"aving checkpoint")


def search(log: LogFile, text: str, *, regex: bool, cursor: str | None, limit: int) -> LogMatches:
    """
    Return the lines that contain `text`, or match it with `regex`, case-insensitively.

    Raises Invalid for a broken expression or cursor, and for an expression that takes too long.
    """
    try:
        Needle(text, regex=regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise Invalid(f"{text!r} is not a valid regular expression: {error}.") from None
    offset, line = _place(cursor)
    handle = log.open()
    if handle is None:
        return LogMatches(attempt=log.attempt, matches=[])
    ask = {
        "text": text,
        "regex": regex,
        "offset": offset,
        "line": line,
        "limit": limit,
        "slice_s": _SLICE_S,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD, json.dumps(ask), *_ROOTS],
            stdin=handle,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = None
    finally:
        os.close(handle)
    if done is None or done.returncode:
        raise Invalid(f"The search for {text!r} takes too long; use a simpler expression.")
    found = cast("Found", json.loads(done.stdout))
    following = found["next"]
    return LogMatches(
        attempt=log.attempt,
        matches=[LogMatch(number=number, text=shown) for number, shown in found["matches"]],
        next=None if following is None else f"{following[0]}:{following[1]}",
    )


def _place(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", cursor)
    if match is None:
        raise Invalid("Invalid cursor; search again without one.")
    return int(match[1]), int(match[2])


@dataclass
class _Seen:
    """Markers of one log so far."""

    tail: TailReader = field(default_factory=TailReader)
    lines: int = 0
    begun: bytes = b""
    """The beginning of a line that was not whole yet."""
    first_traceback: int | None = None
    last_checkpoint: int | None = None
    ranks: set[int] = field(default_factory=set[int])

    def extend(self, handle: int, size: int) -> None:
        """Look at what is new, a limited part of it in one call."""
        for fresh in self.tail.blocks(handle, min(size, self.tail.offset + _SCAN_LIMIT)):
            block = self.begun + fresh
            if self.first_traceback is None:
                place = block.find(_TRACEBACK)
                if place >= 0:
                    self.first_traceback = self.lines + block.count(b"\n", 0, place)
            place = max(block.rfind(word) for word in _CHECKPOINTS)
            if place >= 0:
                self.last_checkpoint = self.lines + block.count(b"\n", 0, place)
            if self.tail.offset <= _RANKS_IN:
                self.ranks.update(int(rank) for rank in _RANK.findall(block))
            cut = block.rfind(b"\n") + 1
            self.lines += block.count(b"\n")
            # Of a line without end only the last part can still become a marker.
            self.begun = block[cut:][-4096:]


class Markers:
    """Lines worth jumping to; each byte of a log is read once, however often this is asked."""

    def __init__(self) -> None:
        self._known = TailCache(_Seen)

    def read(self, log: LogFile) -> LogMarkers:
        """Return the markers so far, after reading what is new. Raises Forbidden."""
        handle = log.open()
        if handle is None:
            return LogMarkers(attempt=log.attempt)
        try:
            with self._known.extended(log.run_dir or "", handle) as (seen, size):
                seen.extend(handle, size)
                return LogMarkers(
                    attempt=log.attempt,
                    first_traceback=seen.first_traceback,
                    last_checkpoint=seen.last_checkpoint,
                    ranks=sorted(seen.ranks),
                )
        finally:
            os.close(handle)
