"""Verb `berth restore`: put a copy of the database back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from berth.cli.failure import Failure
from berth.cli.session import AsJson
from berth.cli.verbs.box import server_program


def restore(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A copy that `berth backup` made.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what was found; changes nothing.")
    ] = False,
    from_runs: Annotated[
        bool,
        typer.Option("--from-runs", help="Without a copy: rebuild it from the run directories."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Put a copy of the database back; Berth is down for it, running jobs go on.

    What the copy does not know is taken over from the run directories: attempts that run go on,
    those that have ended keep their ends. The database that was there is kept beside it.
    """
    if (file is None) != from_runs:
        raise Failure("Name the copy to put back, or give --from-runs where there is none.")
    given = [] if file is None else [str(file.absolute())]
    flags = [("--dry-run", dry_run), ("--from-runs", from_runs), ("--json", as_json)]
    print(server_program.run("restore", [*(name for name, on in flags if on), *given]))
