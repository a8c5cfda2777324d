"""`berth top`: GPUs and jobs, live."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from berth.cli.failure import Failure
from berth.cli.session import connect
from berth.cli.verbs import gpus, ls

_JOBS = 200


def top(
    *,
    every: Annotated[
        float, typer.Option("--every", "-d", min=0.2, metavar="SECONDS", help="Time between looks.")
    ] = 1.0,
) -> None:
    """Show GPUs and jobs, live, until Ctrl-C."""
    if not sys.stdout.isatty():
        raise Failure(
            "`berth top` needs a terminal; use `berth gpus --json` and `berth ls --json`."
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
            time.sleep(every)
