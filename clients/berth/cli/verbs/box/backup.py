"""Verb `berth backup`: copy the database, also while Berth runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from berth.cli.session import AsJson, print_json
from berth.cli.verbs.box import server_program


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that does not exist yet, or a folder.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """
    Copy the queue's database, also while Berth runs. The copy is checked.

    It holds the jobs' environments, so only its owner may read it. `berth restore` puts it back.
    """
    said = server_program.run("backup", [str(file.absolute())])
    if as_json:
        print_json({"said": said})
    else:
        print(said)
