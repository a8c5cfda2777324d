"""Verb `berth top`: GPUs and jobs, live."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from berth.cli.durations import seconds
from berth.cli.failure import Failure
from berth.cli.session import connect
from berth.cli.verbs.box import gpus
from berth.cli.verbs.jobs import ls

_JOBS = 200


def top(
    *,
    every: Annotated[
        str,
        typer.Option("--every", "-d", metavar="DURATION", help="Time between updates, like 2s."),
    ] = "1s",
) -> None:
    """Show GPUs and jobs, live, until Ctrl-C."""
    pause_s = seconds(every, least=0.2)
    if not sys.stdout.isatty():
        raise Failure(
            "`berth top` needs a terminal; in a pipe use `berth gpus --json` and `berth ls --json`."
        )
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from berth.sdk.errors import Unreachable

    console = Console(highlight=False)
    with connect() as client, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                jobs = ls.living(client, limit=_JOBS)
                page = (
                    f"{gpus.rendered(client.gpus())}\n\n{ls.rendered(jobs) if jobs else 'No jobs.'}"
                )
            except Unreachable as error:
                page = f"{error}\nTrying again."
            live.update(Text.from_ansi(page, no_wrap=True, overflow="crop"), refresh=True)
            time.sleep(pause_s)
