"""Finding lines in a log: by a search of the user's, and those worth jumping to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import berth
import berth_server
from berth.protocol.dashboard import LogMarkers, LogMatch, LogMatches
from berth_server.service.errors import Invalid
from berth_server.service.logs.pages import LogFile
from berth_server.service.logs.scanner import Found, Needle

# Where both packages lie: the child runs without site-packages, which halves its start.
_ROOTS = [str(Path(module.__file__ or "").parents[1]) for module in (berth, berth_server)]
_CHILD = (
    "import sys; sys.path += sys.argv[2:]; "
    "from berth_server.service.logs.scanner import main; main()"
)
_SLICE_S = 0.8
_PATIENCE_S = 4.0
_BLOCK = 1 << 20
# One look at a long log does not keep the reader's thread for ever; the next one goes on.
_SCAN_LIMIT = 1 << 30
_RANKS_IN = 8 << 20
_RANK = re.compile(rb"^\[(?:rank|default)(\d{1,4})\]", re.MULTILINE)
_TRACEBACK = b"Traceback (most recent call last)"
_CHECKPOINTS = (b"aving model checkpoint", b"heckpoint-", b"aved checkpoint", b"aving checkpoint")


def search(log: LogFile, text: str, *, regex: bool, cursor: str | None, limit: int) -> LogMatches:
    """
    Lines that contain `text` (or match it, with `regex`), case not minded.

    Raises Invalid for a broken expression or cursor, and for an expression that takes too long.
    """
    try:
        Needle(text, regex=regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise Invalid(f"{text!r} is not a regular expression: {error}.") from None
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
        raise Invalid(f"Looking for {text!r} takes too long; write a simpler expression.")
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
        raise Invalid("This cursor is not one of this server's; start again without one.")
    return int(match[1]), int(match[2])


@dataclass
class _Seen:
    """What was found so far in one log."""

    inode: int
    offset: int = 0
    lines: int = 0
    tail: bytes = b""
    """The beginning of a line that was not whole yet."""
    first_traceback: int | None = None
    last_checkpoint: int | None = None
    ranks: set[int] = field(default_factory=set[int])


class Markers:
    """Finds the lines worth jumping to; looks at each byte once, however often it is asked."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Seen] = OrderedDict()

    def read(self, log: LogFile) -> LogMarkers:
        """What is known after looking at what was written since the last time."""
        handle = log.open()
        if handle is None:
            return LogMarkers(attempt=log.attempt)
        try:
            facts = os.fstat(handle)
            seen = self._of(log.run_dir or "", facts.st_ino, facts.st_size)
            _look(seen, handle, facts.st_size)
        finally:
            os.close(handle)
        return LogMarkers(
            attempt=log.attempt,
            first_traceback=seen.first_traceback,
            last_checkpoint=seen.last_checkpoint,
            ranks=sorted(seen.ranks),
        )

    def _of(self, key: str, inode: int, size: int) -> _Seen:
        seen = self._known.pop(key, None)
        if seen is None or seen.inode != inode or seen.offset > size:
            seen = _Seen(inode)
        self._known[key] = seen
        while len(self._known) > 64:
            self._known.popitem(last=False)
        return seen


def _look(seen: _Seen, handle: int, size: int) -> None:
    stop = min(size, seen.offset + _SCAN_LIMIT)
    while seen.offset < stop:
        fresh = os.pread(handle, min(_BLOCK, stop - seen.offset), seen.offset)
        if not fresh:
            return
        block = seen.tail + fresh
        if seen.first_traceback is None:
            place = block.find(_TRACEBACK)
            if place >= 0:
                seen.first_traceback = seen.lines + block.count(b"\n", 0, place)
        place = max(block.rfind(word) for word in _CHECKPOINTS)
        if place >= 0:
            seen.last_checkpoint = seen.lines + block.count(b"\n", 0, place)
        if seen.offset < _RANKS_IN:
            seen.ranks.update(int(rank) for rank in _RANK.findall(block))
        seen.offset += len(fresh)
        cut = block.rfind(b"\n") + 1
        seen.lines += block.count(b"\n")
        # Of a line without end only the last part can still become a marker.
        seen.tail = block[cut:][-4096:]
