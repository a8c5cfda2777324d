"""
The `berth` command.

Starting must stay cheap: this module and the verbs import typer and the standard library
alone; what speaks to the server is imported when a verb runs. A test holds to that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli.group import BerthGroup
from berth.cli.verbs import (
    cancel,
    gpus,
    hold,
    logs,
    ls,
    release,
    retry,
    run,
    show,
    status,
    submit,
    wait,
    why,
)

JOBS = "Jobs"
LOOK = "Look"
BOX = "The box"

app = typer.Typer(
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
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A GPU job queue for the box that a lab shares."""
    del version  # handled by its callback
    if context.invoked_subcommand is None:
        print(context.get_help())


for verb, panel in (
    (submit.submit, JOBS),
    (run.run, JOBS),
    (cancel.cancel, JOBS),
    (hold.hold, JOBS),
    (release.release, JOBS),
    (retry.retry, JOBS),
    (wait.wait, JOBS),
    (ls.ls, LOOK),
    (show.show, LOOK),
    (logs.logs, LOOK),
    (why.why, LOOK),
    (status.status, BOX),
):
    settings = getattr(verb, "berth_settings", {})
    app.command(rich_help_panel=panel, **settings)(verb)
app.add_typer(gpus.app, name="gpus", rich_help_panel=BOX)


def main() -> None:
    """Entry point of the `berth` script."""
    app()


if __name__ == "__main__":
    main()
