"""`berth ablate`: submit every run of a matrix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from berth.cli import asked, jobfile, matrix, text
from berth.cli.session import AsJson, connect, note, print_json


def ablate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML with base and matrix; - for standard input.")
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The ablation's name; default: the file's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs, submit nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Submit every run of a matrix, all or none; `berth compare` shows them side by side.

    The file holds `base`, a job with {key} in its command, and `matrix`, a list of values for
    each key.
    """
    content = sys.stdin.read() if file == "-" else None
    plan = jobfile.read_matrix(file, content)
    own = plan.get("name") if isinstance(plan.get("name"), str) else None
    chosen = name or own or ("ablation" if file == "-" else Path(file).stem)
    where = "standard input" if file == "-" else file
    specs = [asked.Asked().completed(spec) for spec in matrix.expand(plan, where, chosen)]
    if dry_run:
        _show(specs, as_json=as_json)
        return
    with connect() as client:
        before = next(client.jobs(label={matrix.LABEL: chosen}, limit=1), None)
        jobs = client.submit(specs)
    if as_json:
        print_json({"ablation": chosen, **jobs.model_dump(mode="json")})
        return
    if before is not None:
        note(
            f"There were runs of {chosen!r} before (job {before.id} is the last); these join them."
        )
    print(
        text.style(
            f"{text.plural(len(jobs.ids), 'run')} of {chosen}: jobs {text.indices(jobs.ids)}.",
            "bold",
        )
    )
    for warning in jobs.warnings:
        print(f"  note     {text.clean(warning)}")
    print(f"  compare  berth compare {chosen}")
    print(f"  wait     berth wait {text.indices(jobs.ids).replace(',', ' ')}")


def _show(specs: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(specs)
        return
    for spec in specs:
        command = spec.get("command") or spec.get("script")
        words = command if isinstance(command, str) else " ".join(map(str, command or []))
        print(f"{text.clean(spec['name'])}: {text.clean(words)}")
