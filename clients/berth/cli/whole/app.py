"""
The whole `berth` command on Typer: help, completion, and every verb and option.

Common command lines do not come here: see `quick`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from berth.cli.verbs.ablations import ablate, compare
from berth.cli.verbs.box import (
    backup,
    doctor,
    down,
    gpus_group,
    mcp,
    plan,
    report,
    restore,
    status,
    token,
    top,
    up,
    web,
)
from berth.cli.verbs.jobs import (
    attach,
    cancel,
    change,
    execute,
    hold,
    jupyter,
    logs,
    ls,
    release,
    retry,
    run,
    shell,
    show,
    submit,
    wait,
    why,
)
from berth.cli.whole.error_handling import HEADINGS, BerthGroup
from berth.cli.whole.spec_command import SpecCommand
from berth.cli.whole.typed import VerbApp

app = VerbApp(
    name="berth",
    cls=BerthGroup,
    help="A GPU job queue for the box that a lab shares.",
    epilog="Start with `berth up`, then `berth submit --gpus 4 -- deepspeed train.py`.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - the signature is Typer's
    if wanted:
        import berth

        print(f"berth {berth.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def top_level(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A GPU job queue for the box that a lab shares."""
    del version  # handled by its callback
    if context.invoked_subcommand is None:
        print(context.get_help())


_VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "Jobs": (
        submit.submit,
        run.run,
        shell.shell,
        attach.attach,
        execute.exec_,
        jupyter.jupyter,
        cancel.cancel,
        hold.hold,
        release.release,
        retry.retry,
        change.set_,
        wait.wait,
    ),
    "The box": (
        up.up,
        down.down,
        doctor.doctor,
        plan.plan,
        web.web,
        backup.backup,
        restore.restore,
        mcp.mcp,
    ),
    "Inspect": (
        ls.ls,
        show.show,
        logs.logs,
        why.why,
        compare.compare,
        status.status,
        top.top,
        report.report,
    ),
}
# The words of these are another program's.
_SETTINGS = {"plan": plan.PASS_THROUGH, "exec": {"allow_interspersed_args": False}}
for heading, verbs in _VERBS.items():
    for verb in verbs:
        takes_spec = verb in {submit.submit, run.run, shell.shell, jupyter.jupyter}
        name = verb.__name__.rstrip("_")
        app.command(
            name,
            cls=SpecCommand if takes_spec else None,
            context_settings=_SETTINGS.get(name),
        )(verb)
        HEADINGS[name] = heading
for name, group, heading in (
    ("ablate", ablate.app, "Jobs"),
    ("gpus", gpus_group.app, "Inspect"),
    ("token", token.app, "The box"),
):
    app.add_typer(group, name=name)
    HEADINGS[name] = heading
