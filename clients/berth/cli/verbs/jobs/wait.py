"""`berth wait`: block until jobs have ended."""

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
        typer.Option(metavar="DURATION", help="Longest wait, like 90s or 2h; then exit code 124."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Block until jobs have ended.

    Leaves with the job's own exit code; with several jobs 0 when all succeeded, else 1.
    """
    numbers = ids.several(jobs)
    # A server that is being restarted is no reason to give up a wait of hours.
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
