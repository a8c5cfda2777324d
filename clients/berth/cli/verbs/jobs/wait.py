"""Verb `berth wait`: block until jobs have ended."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli import failure, ids, jobtext
from berth.cli.durations import seconds
from berth.cli.session import AsJson, connect, print_json


def wait(
    jobs: ids.JobIds,
    *,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Maximum wait, like 90s or 2h; then exit code 124."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Block until jobs have ended.

    Exits with the job's own exit code; for several jobs with 0 if all succeeded, else 1.
    """
    numbers = ids.several(jobs)
    # Long enough to outlast a restart of the server.
    with connect(patience=300.0) as client:
        ended = client.wait(numbers, timeout=None if timeout is None else seconds(timeout))
    if as_json:
        print_json(ended[0] if len(numbers) == 1 else ended)
    else:
        for job in ended:
            print(jobtext.end_sentence(job))
    if len(ended) == 1:
        raise typer.Exit(jobtext.exit_code(ended[0]))
    if any(job.state.value != "succeeded" for job in ended):
        raise typer.Exit(failure.JOB_FAILED)
