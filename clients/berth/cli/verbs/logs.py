"""`berth logs`: what a job wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli import ids, jobtext, text
from berth.cli.following import PATIENCE_S, Printer
from berth.cli.session import AsJson, connect, note


def logs(
    job: ids.JobId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, help="Only the last so many lines.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Every byte, also on a terminal that it could steer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Print what a job wrote, byte for byte.

    On a terminal, sequences that could do more than colour and move the cursor are left out.
    """
    job_id, number = ids.one(job)
    printer = Printer(raw=raw, as_json=as_json)
    with connect(patience=PATIENCE_S if follow else 20.0) as client:
        found = client.job(job_id)
        offset, attempt = 0, number
        if found.attempts:
            attempt = number or found.attempts[-1].number
            for piece in client.read_log(job_id, attempt=attempt, lines=lines):
                printer.write(piece)
                offset = piece.end
        elif not follow or found.state.is_final:
            why = found.message or found.reason or f"It is {found.state.value}."
            note(f"Job {job_id} has written nothing: it has not started. {text.sentence(why)}")
        if not follow or found.state.is_final:
            return
        if not found.attempts:
            note(jobtext.submitted(found))
        until = "job" if number is None else "attempt"
        for piece in client.follow_log(job_id, offset=offset, attempt=attempt, until=until):
            printer.write(piece)
        if not as_json:
            note(jobtext.end_sentence(client.job(job_id)))
