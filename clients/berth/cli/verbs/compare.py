"""`berth compare`: the runs of an ablation side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli import jobtext, text
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Cell, Column, render

if TYPE_CHECKING:
    from berth.protocol.metrics import Ablation, AblationList, AblationRun

# What people compare by, before the rest.
_FIRST = ("eval_loss", "perplexity", "eval_perplexity", "loss")
_MOST_METRICS = 4


def compare(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The ablation; without it all are listed."),
    ] = None,
    *,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Show this metric; may be repeated.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The least value instead of the last.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the runs of an ablation: what varies, and what each reached."""
    with connect() as client:
        if name is None:
            listed = client.ablations()
            print_json(listed) if as_json else print(_list(listed))
            return
        ablation = client.ablation(name)
    if as_json:
        print_json(ablation)
    else:
        print(_table(ablation, metric or _metrics(ablation), best=best))


def _list(listed: AblationList) -> str:
    if not listed.ablations:
        return "No ablations; `berth ablate FILE` makes one."
    columns = (
        Column("ABLATION", least=12),
        Column("RUNS", right=True),
        Column("UNFINISHED", right=True),
        Column("USERS", least=8),
    )
    rows = [
        [one.id, str(one.jobs), str(one.unfinished), ", ".join(one.users)]
        for one in listed.ablations
    ]
    return render(columns, rows)


def _metrics(ablation: Ablation) -> list[str]:
    known = [name for name in _FIRST if name in ablation.metrics]
    return (known or ablation.metrics)[:_MOST_METRICS]


def _table(ablation: Ablation, metrics: list[str], *, best: bool) -> str:
    columns = [
        Column("JOB", right=True),
        *(Column(name.upper(), least=8) for name in ablation.varies),
        Column("STATE"),
        Column("STEP", right=True),
        *(Column(name.upper(), right=True) for name in metrics),
    ]
    values = [[_value(run, name, best=best) for name in metrics] for run in ablation.runs]
    columns_of_numbers = [[row[i] for row in values] for i in range(len(metrics))]
    least = [
        min((number for number in numbers if number is not None), default=None)
        for numbers in columns_of_numbers
    ]
    rows: list[list[Cell]] = []
    for run, numbers in zip(ablation.runs, values, strict=True):
        cells: list[Cell] = [str(run.job.id)]
        cells += [run.job.labels.get(name, "") for name in ablation.varies]
        cells += [jobtext.state_cell(run.job), "" if run.step is None else f"{run.step:g}"]
        for number, lowest in zip(numbers, least, strict=True):
            if number is None:
                cells.append("-")
            else:
                cells.append((f"{number:.4g}", "green" if number == lowest else ""))
        rows.append(cells)
    head = text.style(
        f"{text.clean(ablation.id)}: {text.plural(len(ablation.runs), 'run')}", "bold"
    )
    return f"{head}\n{render(columns, rows)}"


def _value(run: AblationRun, name: str, *, best: bool) -> float | None:
    return (run.best if best else run.last).get(name)
