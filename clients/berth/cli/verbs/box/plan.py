"""Verb `berth plan`: a memory plan for a model, made by the trainer."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Annotated

import typer

from berth import installing
from berth.cli.failure import Failure

PASS_THROUGH = {"ignore_unknown_options": True, "help_option_names": []}
"""Context settings with which every word, `--help` too, reaches the trainer as it was typed."""


def plan(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL [OPTIONS]", help="See `berth plan --help`."),
    ] = None,
) -> None:
    """
    Estimate what fits into GPU memory when training a model.

    The options are the trainer's own, so this verb declares none.
    """
    if importlib.util.find_spec("berth_trainer") is None:
        raise Failure(
            f"The trainer is not installed here; `{installing.command('trainer')}` adds it."
        )
    command = [sys.executable, "-P", "-m", "berth_trainer.memory", *(words or [])]
    sys.stdout.flush()
    # Replaces this process: the command line itself never imports the trainer.
    os.execv(command[0], command)  # noqa: S606 - an argv list, no shell
