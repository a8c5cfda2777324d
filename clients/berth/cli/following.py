"""Following of a job's log, and waiting for jobs, to the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from berth.cli import failure, jobtext
from berth.cli.declare import Exit
from berth.cli.session import connect, note, print_json_line
from berth.cli.wait_notices import WaitNotices
from berth.terminal import OutputFilter

if TYPE_CHECKING:
    from berth.protocol.jobs import Job
    from berth.sdk.logs import LogPiece

# Long enough to outlast a restart or an upgrade of the server.
PATIENCE_S = 300.0


class Printer:
    """Writes pieces of a log to stdout: as they are, filtered for a terminal, or as JSON."""

    def __init__(self, *, raw: bool, as_json: bool) -> None:
        self._as_json = as_json
        self._filter = OutputFilter() if not raw and sys.stdout.isatty() else None

    def write(self, piece: LogPiece) -> None:
        """Write one piece at once."""
        if self._as_json:
            text = piece.data.decode(errors="replace")
            print_json_line({"attempt": piece.attempt, "offset": piece.offset, "text": text})
            return
        data = piece.data if self._filter is None else self._filter.filter(piece.data)
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def follow_to_the_end(submitted: Job, *, as_json: bool) -> NoReturn:
    """Print the log until the job has ended, report how, and exit with its code."""
    job_id = submitted.id
    printer = Printer(raw=False, as_json=as_json)
    try:
        with connect(patience=PATIENCE_S) as client:
            meanwhile = None if as_json else WaitNotices(client, submitted)
            for piece in client.follow_log(job_id, meanwhile=meanwhile):
                printer.write(piece)
            (job,) = client.wait(job_id)
    except KeyboardInterrupt:
        note(
            f"\nJob {job_id} keeps running; follow it with `berth logs -f {job_id}`, or cancel it with `berth cancel {job_id}`."
        )
        raise Exit(failure.INTERRUPTED) from None
    if as_json:
        print_json_line(job)
    else:
        note(jobtext.end_sentence(job))
    raise Exit(jobtext.exit_code(job))


def wait_to_the_end(job_ids: list[int], *, quiet: bool) -> NoReturn:
    """Wait until the jobs have ended; exit with the one job's code, or 1 if any of several failed."""
    with connect(patience=PATIENCE_S) as client:
        ended = client.wait(job_ids)
    if not quiet:
        for job in ended:
            print(jobtext.end_sentence(job))
    if len(ended) == 1:
        raise Exit(jobtext.exit_code(ended[0]))
    failed = any(job.state.value != "succeeded" for job in ended)
    raise Exit(failure.JOB_FAILED if failed else 0)
