"""Failure: the exception with which a verb ends the command, and the exit codes."""

from __future__ import annotations

JOB_FAILED = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
FAULT = 70
TIMED_OUT = 124
INTERRUPTED = 130


class Failure(Exception):  # noqa: N818 - a verb's ordinary end, not a fault
    """The sentence is shown on stderr after `berth: `, or as JSON with `--json`."""

    def __init__(self, sentence: str, code: int = USAGE) -> None:
        super().__init__(sentence)
        self.code = code
