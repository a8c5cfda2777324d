"""Verb `berth ablate`: submit every run of a matrix, compare them, rerun failed ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from berth.cli import ablation_check, job_options, jobfile, text
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json
from berth.cli.verbs.ablations.compare import Best, Metric, caps_text, list_all, show_one
from berth.cli.whole import completion
from berth.cli.whole.typed import VerbApp
from berth.sdk.matrix import MatrixError, expand

if TYPE_CHECKING:
    from berth.protocol.ablations import AblationMade

_HELP = {"-h", "--help"}
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The ablation.", autocompletion=completion.ablations)
]


class AblateGroup(TyperGroup):
    """Group of the ablation verbs; `berth ablate FILE` omits the word `submit`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; a first word that names no verb is the file to submit."""
        if not args or (args[0] not in self.commands and args[0] not in _HELP):
            args = ["submit", *args]
        return super().parse_args(ctx, args)


app = VerbApp(
    cls=AblateGroup,
    help="Submit every run of a matrix; compare them, rerun failed ones.",
    epilog="`berth ablate FILE` submits; write a file that is named like a verb as ./show.",
    rich_markup_mode=None,
)


@app.command()
def submit(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="YAML file with base and matrix; - for standard input."
        ),
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Name of the ablation; default: the file's name."
        ),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add the cells that the ablation of this name lacks."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and what they ask for; submit nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Submit every run of a matrix, all or none.

    `berth ablate FILE` is the same.

    The file holds `base`, a job with {key} in its command, and `matrix`, a list of values for
    each key. `seeds`, `include`, `exclude`, `max_running`, `max_gpu_hours` and `early_stop`
    are optional.
    """
    content = sys.stdin.read() if file == "-" else None
    plan = jobfile.read_matrix(file, content)
    plan.setdefault("name", "ablation" if file == "-" else Path(file).stem)
    where = "standard input" if file == "-" else file
    try:
        spec = expand(plan, name=name, where=where)
    except MatrixError as error:
        raise Failure(str(error)) from None
    for cell in spec["cells"]:
        cell["job"] = job_options.JobOptions().completed(cell["job"])
    if dry_run:
        ablation_check.check(spec, where)
        print_json(spec) if as_json else print(ablation_check.listed(spec))
        return
    with connect() as client:
        made = client.ablate(spec, add=add)
    print_json(made) if as_json else print(_summary(made))


@app.command()
def show(name: Name, *, metric: Metric = None, best: Best = False, as_json: AsJson = False) -> None:
    """Compare the runs of an ablation."""
    show_one(name, metric, best=best, as_json=as_json)


@app.command("ls")
def list_(*, as_json: AsJson = False) -> None:
    """List the ablations, newest jobs first."""
    list_all(as_json=as_json)


@app.command()
def rerun(
    name: Name,
    *,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Also runs that were cancelled.")
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Every run that has ended, including successful ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue the failed runs again, under the same job ids."""
    with connect() as client:
        which = "all" if all_ else "cancelled" if cancelled else "failed"
        jobs = client.rerun_ablation(name, which)
    if as_json:
        print_json(jobs)
        return
    runs = text.plural(len(jobs.ids), "run")
    print(f"{runs} of {name} queued again: jobs {text.indices(jobs.ids)}.")


@app.command("set")
def set_(
    name: Name,
    *,
    max_running: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Maximum number of its jobs at once; `none` removes the cap."
        ),
    ] = None,
    max_gpu_hours: Annotated[
        str | None,
        typer.Option(
            metavar="HOURS",
            help="Start no further run after this many GPU-hours; `none` removes the cap.",
        ),
    ] = None,
    early_stop: Annotated[
        str | None, typer.Option(metavar="none", help="`none` removes its early-stop rule.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the caps of an ablation."""
    patch: dict[str, Any] = {}
    if max_running is not None:
        patch["max_running"] = _number(max_running, "--max-running", whole=True)
    if max_gpu_hours is not None:
        patch["max_gpu_hours"] = _number(max_gpu_hours, "--max-gpu-hours", whole=False)
    if early_stop is not None:
        if early_stop != "none":
            raise Failure("--early-stop accepts only `none`; set a new rule with a file and --add.")
        patch["early_stop"] = None
    if not patch:
        raise Failure("Name what to change, like --max-running 2 or --max-gpu-hours none.")
    with connect() as client:
        changed = client.change_ablation(name, patch)
    if as_json:
        print_json(changed)
        return
    caps = caps_text(changed.caps) if changed.caps else ""
    print(f"{text.clean(name)}: {caps or 'no caps'}.")


def _number(word: str, option: str, *, whole: bool) -> float | int | None:
    if word == "none":
        return None
    try:
        return int(word) if whole else float(word)
    except ValueError:
        raise Failure(f"{option} takes a number or `none`, not {word!r}.") from None


def _summary(made: AblationMade) -> str:
    name = text.clean(made.id)
    skipped = f"; {made.skipped} already existed" if made.skipped else ""
    if not made.ids:
        return f"No new runs of {name}{skipped}."
    runs, jobs = text.plural(len(made.ids), "run"), text.indices(made.ids)
    lines = [text.style(f"{runs} of {name}: jobs {jobs}{skipped}.", "bold")]
    warnings = text.messages(made.warnings_parts, made.warnings)
    lines += [f"  note     {warning}" for warning in warnings]
    lines.append(f"  compare  berth ablate show {name}")
    lines.append(f"  wait     berth wait {jobs.replace(',', ' ')}")
    return "\n".join(lines)
