"""
Search of a log, in a process of its own: `main` reads the request in argv and the log on stdin.

A hostile regular expression can keep `re` busy for ever and would stall the whole server; here
it costs a child that is killed. Imports the standard library and `berth.terminal` only.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from typing import TypedDict

from berth.terminal import shown_bytes, strip_bytes

_BLOCK = 1 << 20
# A line may be longer than a block (a progress bar of hours); beyond this it is cut.
_LONGEST = 32 << 20
_SHOWN = 500
_CPU_S = 3
_NICE = 10


class Ask(TypedDict):
    """Request: the text, and where to start."""

    text: str
    regex: bool
    offset: int
    line: int
    limit: int
    slice_s: float


class Found(TypedDict):
    """Answer: matching lines (number, text), and where to continue; null at the end."""

    matches: list[tuple[int, str]]
    next: tuple[int, int] | None


class Needle:
    """
    Text or expression to look for, case-insensitively.

    `re.IGNORECASE` looks at one byte at a time. Most searches mean the same in lower case alone,
    and a block in lower case is searched some seven times as fast.
    """

    def __init__(self, text: str, *, regex: bool) -> None:
        """`text` is a regular expression with `regex`. Raises re.error for a broken one."""
        self._word = None if regex else text.encode().lower()
        self._folds = not regex or _folds(text)
        flags = re.MULTILINE if self._folds else re.MULTILINE | re.IGNORECASE
        self._pattern = re.compile(text.encode() if regex else b"", flags)

    def hay(self, text: bytes) -> bytes:
        """Return the form of `text` that `find` searches, of the same length."""
        return text.lower() if self._folds else text

    def find(self, hay: bytes, place: int = 0) -> int:
        """Return its next position at or after `place`; -1 when there is none."""
        if self._word is not None:
            return hay.find(self._word, place)
        match = self._pattern.search(hay, place)
        return -1 if match is None else match.start()


def _folds(pattern: str) -> bool:
    r"""
    Return whether an expression finds the same in lower case without IGNORECASE.

    Not with capitals (`\S` is the opposite of `\s`), character codes, groups with flags, and
    ranges that may contain capitals.
    """
    if re.search(r"[A-Z]|\\[^dwsb\W]|\(\?", pattern):
        return False
    return "[" not in pattern or "-" not in re.sub(r"0-9|a-z", "", pattern)


def scan(handle: int, ask: Ask) -> Found:
    """Search from `offset`, the start of line number `line`, until time or log or limit ends."""
    needle = Needle(ask["text"], regex=ask["regex"])
    end = os.fstat(handle).st_size
    until = time.monotonic() + ask["slice_s"]
    offset, line = ask["offset"], ask["line"]
    matches: list[tuple[int, str]] = []
    while offset < end:
        if len(matches) >= ask["limit"] or time.monotonic() > until:
            return {"matches": matches, "next": (offset, line)}
        block = _whole_lines(handle, offset, end)
        for number, text in _matching(block, needle):
            matches.append((line + number, text))
            if len(matches) >= ask["limit"]:
                # Continue with the next line: the rest of the block is searched again.
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


def _matching(block: bytes, needle: Needle) -> list[tuple[int, str]]:
    """Return number within the block and text of each matching line."""
    plain = strip_bytes(block) if b"\x1b" in block else block
    hay = needle.hay(plain)
    found: list[tuple[int, str]] = []
    counted = number = place = 0
    while place <= len(plain):
        at = needle.find(hay, place)
        if at < 0:
            break
        start = plain.rfind(b"\n", 0, at) + 1
        stop = plain.find(b"\n", at)
        stop = len(plain) if stop < 0 else stop
        place = stop + 1
        if start >= len(plain):
            break
        shown = shown_bytes(plain[start:stop])
        # What a progress bar has overwritten is not in the line any more.
        if needle.find(needle.hay(shown)) < 0:
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
    os.nice(_NICE)  # whoever submits goes before whoever searches
    found = scan(sys.stdin.fileno(), json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(found))
