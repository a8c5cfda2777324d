"""Terminal control sequences in a job's output: removed, overwritten, or made harmless."""

from __future__ import annotations

import re

# Control sequences; strings (titles, links, clipboard), to the end of the line where their
# terminator is missing; two-character escapes; control characters but \t, \n and \r.
_CONTROLS = (
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_TEXT = re.compile(_CONTROLS)
_BYTES = re.compile(_CONTROLS.encode())

# Colours, cursor moves within the page and erasing are what progress bars need. Anything else
# (titles, clipboard, queries that make the terminal type, other screens) is left out: every user
# of the box reads these logs.
_STEERING = re.compile(
    rb"\x1b\[[0-9;:]*[mABCDGJK]"  # kept
    rb"|(\x1b\[[0-?]*[ -/]*[@-~]"  # any other control sequence
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # strings
    rb"|\x1b[ -/]*[0-~]"  # two-character escapes
    rb"|[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f])"  # lone control characters
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_HELD_LIMIT = 4096


def strip(text: str) -> str:
    """Return the text without control sequences and characters; tabs and line ends stay."""
    return _TEXT.sub("", text)


def strip_bytes(data: bytes) -> bytes:
    """Return the same of bytes, whichever superset of ASCII they are in."""
    return _BYTES.sub(b"", data)


def shown(line: str) -> str:
    """Return what a terminal shows of a line: a progress bar writes over itself."""
    return line.rstrip("\r").rpartition("\r")[2]


def shown_bytes(line: bytes) -> bytes:
    """Return the same of bytes."""
    line = line.rstrip(b"\r")
    return line[line.rfind(b"\r") + 1 :]


class OutputFilter:
    """
    Filter that lets pieces of one stream do no more to the reader's terminal than colour and
    progress bars need. An unfinished sequence is kept for the next piece.
    """

    def __init__(self) -> None:
        self._held = b""

    def filter(self, data: bytes) -> bytes:
        """Return the bytes that may be written to the terminal."""
        data = self._held + data
        self._held = b""
        unfinished = _UNFINISHED.search(data)
        if unfinished is not None and len(data) - unfinished.start() <= _HELD_LIMIT:
            self._held = data[unfinished.start() :]
            data = data[: unfinished.start()]
        return _STEERING.sub(lambda match: b"" if match[1] else match[0], data)
