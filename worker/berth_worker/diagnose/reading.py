"""Reader of the end of a log: the decisive line and the rank that failed first."""

from __future__ import annotations

import re

from berth import jobfiles, terminal

_QUOTE_LENGTH = 200
# Lines of launchers after a rank has failed; the rank's own lines stand before them.
_EPILOGUE = re.compile(
    r"failed \(exitcode: |ChildFailedError|exits with return code = |\] Killing subprocess \d"
    r"|Sending process \d+ closing signal|launcher subprocess has failed"
)
_LAUNCHERS = re.compile(r"ChildFailedError|CalledProcessError")
_ERROR = re.compile(
    r"(?:\[rank(?P<rank>\d+)\]: ?)?(?P<error>[A-Za-z_][\w.]*"
    r"(?:Error|Exception|Interrupt|Timeout|Exit)\b(?::\s.+)?)$"
)
_SECONDARY = re.compile(
    r"Connection (?:closed|reset) by peer|remote process exited|Broken pipe|DistBackendError"
    r"|DistNetworkError: Failed to recv"
)
_ROOT_CAUSE = re.compile(r"Root Cause \(first observed failure\):.*?rank\s*:\s*(\d+)", re.DOTALL)


def first_failed_rank(text: str) -> int | None:
    """Return the rank that torchrun's summary names as the first to fail."""
    found = _ROOT_CAUSE.search(text)
    return int(found[1]) if found else None


def decisive_line(text: str) -> str:
    """
    Return the line that best explains a failure, shortened and without terminal codes.

    The last error that a rank raised, else the last line it wrote. Errors that only report the
    loss of another rank, and lines of the launcher, come last. Empty when there is no line.
    """
    lines = [terminal.strip(line).strip() for line in re.split(r"[\r\n]+", text)]
    lines = [line for line in lines if any(character.isalnum() for character in line)]
    end = next((i for i, line in enumerate(lines) if _EPILOGUE.search(line)), len(lines))
    own = lines[:end] or lines
    errors = [match["error"] for line in own if (match := _ERROR.fullmatch(line))]
    errors = [error for error in errors if not _LAUNCHERS.search(error)]
    primary = [error for error in errors if not _SECONDARY.search(error)]
    for found in (primary, errors):
        if found and _ends_with(own, found[-1]):
            return shortened(found[-1])
    return shortened(own[-1]) if own else ""


def _ends_with(lines: list[str], error: str) -> bool:
    """Return whether an error stands near the end; otherwise the run survived it."""
    return any(error in line for line in lines[-60:])


def shortened(line: str) -> str:
    """Return at most 200 characters of a line."""
    return jobfiles.line(line, _QUOTE_LENGTH)
