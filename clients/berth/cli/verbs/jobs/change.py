"""Verb `berth set`: change jobs that have not started; give a running one more time."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from berth.cli import ids, jobtext, text
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json


def set_(
    job: ids.JobId,
    *,
    priority: Annotated[
        int | None,
        typer.Option("--priority", "-p", metavar="N", help="Higher priority starts first."),
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", "-t", metavar="DURATION", help="Maximum run time.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Short name for lists.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Change priority, time limit or name of a job that has not started.

    A job that runs can be given a longer time limit: berth set 42 --time-limit 20h
    """
    wanted: dict[str, Any] = {"priority": priority, "time_limit": time_limit, "name": name}
    patch = {key: value for key, value in wanted.items() if value is not None}
    if not patch:
        raise Failure("Name what to change: --priority, --time-limit or --name.")
    with connect() as client:
        changed = client.patch(ids.one(job)[0], patch)
    if as_json:
        print_json(changed)
        return
    limit = text.span(changed.time_limit) if changed.time_limit else "none"
    print(
        f"Job {changed.id} {text.clean(changed.name)}: priority {changed.priority}, time limit {limit}."
    )
    print(jobtext.submitted(changed))
