"""Verb `berth logs`: the output of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from berth import terminal
from berth.cli import ids, jobtext, text
from berth.cli.declare import Option
from berth.cli.following import PATIENCE_S, Printer
from berth.cli.session import AsJson, connect, note
from berth.cli.wait_notices import WaitNotices

if TYPE_CHECKING:
    from berth.protocol.jobs import Job
    from berth.sdk.log_reading import LogPiece


def logs(
    job: ids.JobId,
    *,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Follow until the job has ended.")
    ] = False,
    lines: Annotated[
        int | None,
        Option("-n", "--lines", metavar="N", min=0, help="Print only the last N lines."),
    ] = None,
    raw: Annotated[
        bool, Option("--raw", help="Print every byte, including terminal control sequences.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Print a job's output, byte for byte.

    With --lines, a progress bar that writes over itself is one line, as it was seen last.

    With --follow, stderr reports what the job does between its attempts and how it ended.

    On a terminal, control sequences other than colours and cursor moves are left out.
    """
    job_id, number = ids.one(job)
    printer = Printer(raw=raw, as_json=as_json)
    with connect(patience=PATIENCE_S if follow else 20.0) as client:
        found = client.job(job_id)
        offset, attempt = 0, number
        if found.attempts:
            attempt = number or found.attempts[-1].number
            for piece in client.read_log(job_id, attempt=attempt, lines=lines):
                offset = piece.end
                as_written = lines is None or raw or as_json
                printer.write(piece if as_written else _as_seen(piece))
        elif not follow or found.state.is_final:
            why = jobtext.message(found) or jobtext.reason(found)
            why = why or f"It is {found.state.value}."
            note(f"Job {job_id} has no output: it has not started. {why}")
        if not follow:
            return
        if not found.state.is_final:
            meanwhile = None if as_json else WaitNotices(client)
            until = "job" if number is None else "attempt"
            for piece in client.follow_log(
                job_id, offset=offset, attempt=attempt, until=until, meanwhile=meanwhile
            ):
                printer.write(piece)
            found = client.job(job_id)
        if not as_json and found.attempts:
            note(text.clean(_end(found, number)))


def _as_seen(piece: LogPiece) -> LogPiece:
    """The piece without what was written over; bars write thousands of states into one line."""
    lines = piece.data.split(b"\n")
    # An unfinished line goes on: what follows must still find its beginning.
    last = b"\r" if lines[-1].endswith(b"\r") else b""
    return piece._replace(data=b"\n".join(map(terminal.shown_bytes, lines)) + last)


def _end(job: Job, number: int | None) -> str:
    """Describe the end of the job, or of the one attempt that was named."""
    last = job.attempts[-1].number if job.attempts else None
    if number is None or (number == last and job.state.is_final):
        return jobtext.end_sentence(job)
    return f"Attempt {jobtext.attempt_line(job.attempts[number - 1])}."
