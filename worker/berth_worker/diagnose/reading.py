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
# `/env/x.py:12: DeprecationWarning: …`, with a line of source below it.
_WARNING = re.compile(r"^(?:\[rank\d+\]: ?)?\S+:\d+: \w*Warning: ")
_ROOT_CAUSE = re.compile(
    r"Root Cause \(first observed failure\):.{0,2000}?rank\s{0,40}:\s{0,40}(\d{1,9})", re.DOTALL
)


def first_failed_rank(text: str) -> int | None:
    """Return the rank that torchrun's summary names as the first to fail."""
    found = _ROOT_CAUSE.search(text)
    return int(found[1]) if found else None


def decisive_line(text: str) -> str:
    """
    Return the line that best explains a failure, shortened and without terminal codes.

    The last error that a rank raised, else the last line it wrote. Errors that only report the
    loss of another rank, and lines of the launcher, come last; a warning, and the line of source
    that Python prints below it, explain nothing. Empty when there is no line.
    """
    own = _own_lines(text)
    errors = [match["error"] for line in own if (match := _ERROR.fullmatch(line))]
    errors = [error for error in errors if not _LAUNCHERS.search(error)]
    primary = [error for error in errors if not _SECONDARY.search(error)]
    for found in (primary, errors):
        if found and _ends_with(own, found[-1]):
            return shortened(found[-1])
    return shortened(own[-1]) if own else ""


def last_line(text: str) -> str:
    """Return the last line that a job wrote itself, shortened; empty when there is none."""
    own = _own_lines(text)
    return shortened(own[-1]) if own else ""


def end_of(text: str, lines: int) -> str:
    """Return the last lines of a text."""
    return "\n".join(re.split(r"[\r\n]+", text)[-lines:])


def _own_lines(text: str) -> list[str]:
    """Return the lines that say something, without warnings and what a launcher adds."""
    kept: list[str] = []
    after_warning = False
    for raw in re.split(r"[\r\n]+", text):
        plain = terminal.strip(raw)
        is_source = after_warning and plain[:1].isspace()
        after_warning = _WARNING.search(plain) is not None
        line = plain.strip()
        if not (is_source or after_warning) and any(letter.isalnum() for letter in line):
            kept.append(line)
    end = next((i for i, line in enumerate(kept) if _EPILOGUE.search(line)), len(kept))
    return kept[:end] or kept


def _ends_with(lines: list[str], error: str) -> bool:
    """Return whether an error stands near the end; otherwise the run survived it."""
    return any(error in line for line in lines[-60:])


def shortened(line: str) -> str:
    """Return at most 200 characters of a line."""
    return jobfiles.line(line, _QUOTE_LENGTH)
