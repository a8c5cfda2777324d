"""Verb `berth gpus` with its own verbs, for Typer."""

from __future__ import annotations

import typer

from berth.cli.session import AsJson
from berth.cli.verbs.box import gpus, reserve
from berth.cli.whole.typed import VerbApp

app = VerbApp(
    help="Show the holder of each GPU; drain, undrain and reserve GPUs.", rich_markup_mode=None
)

for verb in (
    reserve.reserve,
    reserve.reservations,
    reserve.unreserve,
    gpus.drain,
    gpus.undrain,
):
    app.command()(verb)


@app.callback(invoke_without_command=True)
def listing(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show the holder of each GPU, until when it holds it, and how busy it is."""
    if context.invoked_subcommand is None:
        gpus.gpus(as_json=as_json)
