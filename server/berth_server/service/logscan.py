"""
Searches a log, as a process of its own: `python -I -S logscan.py '<request>' < output.log`.

A hostile regular expression can keep `re` busy for ever, and would keep the whole server from
running: here it costs a child that is killed. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from typing import TypedDict

_BLOCK = 1 << 20
# A line may be longer than a block (a progress bar of hours); beyond this it is cut.
_LONGEST = 32 << 20
_SHOWN = 500
_CPU_S = 3
_COLOUR = re.compile(rb"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?")


class Ask(TypedDict):
    """What to look for, and from where."""

    pattern: str
    offset: int
    line: int
    limit: int
    slice_s: float


class Found(TypedDict):
    """Matching lines (number, text) and where to go on; null at the end of the log."""

    matches: list[tuple[int, str]]
    next: tuple[int, int] | None


def scan(handle: int, ask: Ask) -> Found:
    """Look from `offset` (the start of line number `line`) until time, lines or matches end."""
    pattern = re.compile(ask["pattern"].encode(), re.IGNORECASE | re.MULTILINE)
    end = os.fstat(handle).st_size
    until = time.monotonic() + ask["slice_s"]
    offset, line = ask["offset"], ask["line"]
    matches: list[tuple[int, str]] = []
    while offset < end:
        if len(matches) >= ask["limit"] or time.monotonic() > until:
            return {"matches": matches, "next": (offset, line)}
        block = _whole_lines(handle, offset, end)
        for number, text in _matching(block, pattern):
            matches.append((line + number, text))
            if len(matches) >= ask["limit"]:
                # Go on with the line after: what else the block holds is looked at again.
                place = _line_start(block, number + 1)
                after = offset + place
                return {
                    "matches": matches,
                    "next": (after, line + number + 1) if after < end else None,
                }
        offset += len(block)
        line += block.count(b"\n")
    return {"matches": matches, "next": None}


def _whole_lines(handle: int, offset: int, end: int) -> bytes:
    size = _BLOCK
    while True:
        block = os.pread(handle, min(size, end - offset), offset)
        last = block.rfind(b"\n")
        if last >= 0 and offset + len(block) < end:
            return block[: last + 1]
        if offset + len(block) >= end or size >= _LONGEST:
            return block
        size *= 2


def _matching(block: bytes, pattern: re.Pattern[bytes]) -> list[tuple[int, str]]:
    """Number within the block and text of each matching line."""
    plain = _COLOUR.sub(b"", block) if b"\x1b" in block else block
    found: list[tuple[int, str]] = []
    counted = number = place = 0
    while place <= len(plain):
        match = pattern.search(plain, place)
        if match is None:
            break
        start = plain.rfind(b"\n", 0, match.start()) + 1
        stop = plain.find(b"\n", match.start())
        stop = len(plain) if stop < 0 else stop
        place = stop + 1
        if start >= len(plain):
            break
        shown = plain[start:stop].rstrip(b"\r")
        shown = shown[shown.rfind(b"\r") + 1 :]
        # What a progress bar has overwritten is not in the line any more.
        if pattern.search(shown) is None:
            continue
        number += plain.count(b"\n", counted, start)
        counted = start
        found.append((number, shown.decode("utf-8", "replace")[:_SHOWN]))
    return found


def _line_start(block: bytes, number: int) -> int:
    place = 0
    for _ in range(number):
        following = block.find(b"\n", place)
        if following < 0:
            return len(block)
        place = following + 1
    return place


def main() -> None:
    """Answer the request in argv from the log on standard input."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    found = scan(sys.stdin.fileno(), json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
