"""Make a job's output harmless for the terminal of whoever reads it."""

from __future__ import annotations

import re

# Colours, cursor moves within the page and erasing are what progress bars need. Anything else
# (titles, clipboard, queries that make the terminal type, other screens) is left out: logs are
# read by everybody in the lab.
_SEQUENCE = re.compile(
    rb"\x1b\[[0-9;:]*[mABCDGJK]"  # kept
    rb"|(\x1b\[[0-?]*[ -/]*[@-~]"  # any other control sequence
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # strings: title, clipboard, device control
    rb"|\x1b[ -/]*[0-~]"  # two-character escapes
    rb"|[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f])"  # lone control characters
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_MOST_HELD = 4096


class Harmless:
    """A filter over pieces of one stream; keeps an unfinished sequence for the next piece."""

    def __init__(self) -> None:
        self._held = b""

    def filter(self, data: bytes) -> bytes:
        """The bytes without what could steer the terminal."""
        data = self._held + data
        self._held = b""
        unfinished = _UNFINISHED.search(data)
        if unfinished is not None and len(data) - unfinished.start() <= _MOST_HELD:
            self._held = data[unfinished.start() :]
            data = data[: unfinished.start()]
        return _SEQUENCE.sub(lambda match: b"" if match[1] else match[0], data)
