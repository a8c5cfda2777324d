"""`berth ablate`: submit every run of a matrix, compare them, run failed ones again."""

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
from berth.sdk.matrix import MatrixError, expand

if TYPE_CHECKING:
    from berth.protocol.ablations import AblationMade

_HELP = {"-h", "--help"}
Name = Annotated[str, typer.Argument(metavar="NAME", help="The ablation.")]


class AblateGroup(TyperGroup):
    """The verbs of ablations; `berth ablate FILE` leaves the word `submit` out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; what names no verb is the file of a submit."""
        if not args or (args[0] not in self.commands and args[0] not in _HELP):
            args = ["submit", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=AblateGroup,
    help="Submit every run of a matrix; compare them, run failed ones again.",
    epilog="`berth ablate FILE` submits; a file called like a verb is written ./show.",
    rich_markup_mode=None,
)


@app.command()
def submit(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML with base and matrix; - for standard input.")
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The ablation's name; default: the file's."),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add the cells that an ablation of this name has not yet."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and what they ask for, submit nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Submit every run of a matrix, all or none; `berth ablate FILE` means the same.

    The file holds `base`, a job with {key} in its command, and `matrix`, a list of values for
    each key; `seeds`, `include`, `exclude`, `max_running`, `max_gpu_hours` and `early_stop` if
    wanted.
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
    print_json(made) if as_json else print(_told(made))


@app.command()
def show(name: Name, *, metric: Metric = None, best: Best = False, as_json: AsJson = False) -> None:
    """Compare the runs of an ablation: what varies, and what each reached."""
    show_one(name, metric, best=best, as_json=as_json)


@app.command("ls")
def list_(*, as_json: AsJson = False) -> None:
    """List the ablations, those with the newest jobs first."""
    list_all(as_json=as_json)


@app.command()
def rerun(
    name: Name,
    *,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Also those that somebody cancelled.")
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Every one that has ended, also what succeeded.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue the failed runs again, under their own job ids."""
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
        typer.Option(metavar="N", help="At most so many of its jobs at once; none lifts the cap."),
    ] = None,
    max_gpu_hours: Annotated[
        str | None,
        typer.Option(metavar="HOURS", help="Nothing more of it starts after so many; or none."),
    ] = None,
    early_stop: Annotated[
        str | None, typer.Option(metavar="none", help="`none` takes its early-stop rule away.")
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
            raise Failure("--early-stop takes `none`; a new rule comes with a file and --add.")
        patch["early_stop"] = None
    if not patch:
        raise Failure("Say what to change, like --max-running 2 or --max-gpu-hours none.")
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


def _told(made: AblationMade) -> str:
    name = text.clean(made.id)
    skipped = f"; {made.skipped} were there already" if made.skipped else ""
    if not made.ids:
        return f"No new runs of {name}{skipped}."
    runs, jobs = text.plural(len(made.ids), "run"), text.indices(made.ids)
    lines = [text.style(f"{runs} of {name}: jobs {jobs}{skipped}.", "bold")]
    lines += [f"  note     {text.clean(warning)}" for warning in made.warnings]
    lines.append(f"  compare  berth ablate show {name}")
    lines.append(f"  wait     berth wait {jobs.replace(',', ' ')}")
    return "\n".join(lines)
