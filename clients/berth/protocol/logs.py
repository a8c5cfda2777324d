"""Reading an attempt's log: pages of lines and the events of `/log/stream`."""

from __future__ import annotations

from pydantic import Field

from berth.protocol.base import Wire
from berth.protocol.states import JobState, Outcome


class LogLines(Wire):
    """Some lines of a log, without their line ends; bytes that are not UTF-8 become U+FFFD."""

    attempt: str | None = Field(default=None, examples=["42.1"])
    """Attempt whose log it is; absent while the job has no attempt yet."""
    first: int
    """Number of the first line here; lines count from 0."""
    lines: list[str]
    """In order."""
    total: int
    """Number of lines that the log has now; the last may still be growing."""
    size_bytes: int
    """Size of the log now, bytes. Go on following from there with `/log/stream?offset=`."""
    complete: bool
    """The attempt has ended: nothing more will come."""
    times: list[float | None] = Field(default_factory=list[float | None])
    """Unix seconds at which each line was written, to the second; null where that is not known. Empty
    unless asked for."""


class LogChunk(Wire):
    """SSE event `log`: the next piece. The event's id is the offset after it."""

    attempt: str
    """Attempt whose log it is, like `42.1`."""
    offset: int
    """Byte offset of the piece in the log."""
    text: str
    """Whole characters; bytes that are not UTF-8 become U+FFFD."""


class LogEnd(Wire):
    """SSE event `end`: the attempt has ended and every byte of its log was sent."""

    attempt: str | None = None
    """Absent when the job ended without an attempt."""
    outcome: Outcome | None = None
    exit_code: int | None = None
    size_bytes: int
    """Size of the whole log, bytes."""
    job_state: JobState
    """`queued` when another attempt follows: open a new stream for it."""
