"""Verb `berth compare`: the runs of an ablation side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli import jobtext, text
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Cell, Column, render
from berth.cli.whole import completion

if TYPE_CHECKING:
    from berth.protocol.ablations import AblationCaps, EarlyStop
    from berth.protocol.metrics import Ablation, AblationList, AblationRun

# Metrics shown first.
_FIRST = ("eval_loss", "perplexity", "bleu_4", "rouge_l", "f1", "eval_perplexity", "loss")
_MOST_METRICS = 4


Metric = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", metavar="NAME", help="Show this metric; may be repeated."),
]
Best = Annotated[bool, typer.Option("--best", help="Show the best value instead of the last.")]


def compare(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="The ablation; without it, list all.",
            autocompletion=completion.ablations,
        ),
    ] = None,
    *,
    metric: Metric = None,
    best: Best = False,
    as_json: AsJson = False,
) -> None:
    """Compare the runs of an ablation, like `berth ablate show` and `ls`."""
    if name is None:
        list_all(as_json=as_json)
    else:
        show_one(name, metric, best=best, as_json=as_json)


def show_one(name: str, metric: list[str] | None, *, best: bool, as_json: bool) -> None:
    """Print what varies in an ablation, and what each run has reached."""
    with connect() as client:
        ablation = client.ablation(name)
    if as_json:
        print_json(ablation)
    else:
        print(_table(ablation, metric or _metrics(ablation), best=best))


def list_all(*, as_json: bool) -> None:
    """Print all ablations, newest jobs first."""
    with connect() as client:
        listed = client.ablations()
    print_json(listed) if as_json else print(_list(listed))


def _list(listed: AblationList) -> str:
    if not listed.ablations:
        return "No ablations; `berth ablate FILE` creates one."
    columns = (
        Column("ABLATION", least=12),
        Column("RUNS", right=True),
        Column("UNFINISHED", right=True),
        Column("USERS", least=8),
        Column("CAPS", least=8),
    )
    rows = [
        [
            one.id,
            str(one.jobs),
            str(one.unfinished),
            ", ".join(one.users),
            caps_text(one.caps) if one.caps else "",
        ]
        for one in listed.ablations
    ]
    return render(columns, rows)


def caps_text(caps: AblationCaps) -> str:
    """Describe caps and rule: `at most 2 at once; 3.5 of 40 GPU-hours used`."""
    parts: list[str] = []
    if caps.max_running is not None:
        parts.append(f"at most {caps.max_running} at once")
    if caps.max_gpu_hours is not None:
        parts.append(f"{caps.used_gpu_hours:.3g} of {caps.max_gpu_hours:g} GPU-hours used")
    if caps.early_stop is not None:
        parts.append(rule_text(caps.early_stop))
    return "; ".join(parts)


def rule_text(rule: EarlyStop) -> str:
    """Describe an early-stop rule."""
    after = f" from step {rule.after_step:g} on" if rule.after_step else ""
    better = "least" if rule.mode == "min" else "greatest"
    match rule.rule:
        case "median":
            return f"stops runs early whose {rule.metric} is worse than the median{after}"
        case "margin":
            return f"stops runs early whose {rule.metric} is {rule.margin:g} worse than the {better}{after}"
        case "target":
            return f"stops all runs once {rule.metric} reaches {rule.target:g}{after}"


def _metrics(ablation: Ablation) -> list[str]:
    known = [name for name in _FIRST if name in ablation.metrics]
    return (known or ablation.metrics)[:_MOST_METRICS]


def _table(ablation: Ablation, metrics: list[str], *, best: bool) -> str:
    from berth.better import more_is_better

    columns = [
        Column("JOB", right=True),
        *(Column(name.upper(), least=8) for name in ablation.varies),
        Column("STATE"),
        Column("STEP", right=True),
        *(Column(name.upper(), right=True) for name in metrics),
    ]
    values = [[_value(run, name, best=best) for name in metrics] for run in ablation.runs]
    columns_of_numbers = [[row[i] for row in values] for i in range(len(metrics))]
    winners = [
        (max if more_is_better(name) else min)((n for n in numbers if n is not None), default=None)
        for name, numbers in zip(metrics, columns_of_numbers, strict=True)
    ]
    rows: list[list[Cell]] = []
    for run, numbers in zip(ablation.runs, values, strict=True):
        cells: list[Cell] = [f"{run.job.id}{' !' if run.differences else ''}"]
        cells += [run.job.labels.get(name, "") for name in ablation.varies]
        cells += [jobtext.state_cell(run.job), "" if run.step is None else f"{run.step:g}"]
        for number, winner in zip(numbers, winners, strict=True):
            if number is None:
                cells.append("-")
            else:
                cells.append((f"{number:.4g}", "green" if number == winner else ""))
        rows.append(cells)
    head = text.style(
        f"{text.clean(ablation.id)}: {text.plural(len(ablation.runs), 'run')}", "bold"
    )
    caps = caps_text(ablation.caps) if ablation.caps else ""
    lines = [head, *([caps] if caps else []), render(columns, rows), *_not_comparable(ablation)]
    return "\n".join(lines)


def _not_comparable(ablation: Ablation) -> list[str]:
    """Say which runs differ in more than the ablation, and which left out most of a part."""
    lines: list[str] = []
    for run in ablation.runs:
        if run.differences:
            told = [text.message(one.sentence_parts, one.sentence) for one in run.differences]
            line = f"! job {run.job.id} is not comparable: {' '.join(told)}"
            lines.append(text.style(line, "yellow"))
        if run.shortened:
            told = text.message(run.shortened.sentence_parts, run.shortened.sentence)
            lines.append(f"  job {run.job.id}: {told}")
    return lines


def _value(run: AblationRun, name: str, *, best: bool) -> float | None:
    return (run.best if best else run.last).get(name)
