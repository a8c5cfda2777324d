"""`berth plan`: what fits into GPU memory, before it runs."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from typing import Annotated

import typer

from berth.cli.failure import Failure
from berth.cli.session import AsJson, note


def plan(  # noqa: PLR0913 - one parameter per option
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a model, or its config.json.")
    ],
    *,
    gpus: Annotated[
        int, typer.Option("--gpus", "-g", metavar="N", min=1, help="How many cards.")
    ] = 1,
    gpu_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Of each card, as nvidia-smi tells it, like 81559MiB or 79.6GiB (the default, a "
            "card sold as 80 GB); GB are powers of 1000.",
        ),
    ] = None,
    host_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the box; default: this one's.")
    ] = None,
    stage: Annotated[
        int | None, typer.Option(metavar="0-3", min=0, max=3, help="ZeRO stage; default: 1 to 3.")
    ] = None,
    states: Annotated[
        str, typer.Option(metavar="fp32|bf16|8bit", help="Precision of optimizer states.")
    ] = "fp32",
    lora: Annotated[
        int | None, typer.Option(metavar="R", min=1, help="Rank of LoRA adapters; default: none.")
    ] = None,
    four_bit: Annotated[
        bool, typer.Option("--four-bit", help="With --lora: frozen weights in 4 bits.")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option(metavar="TOKENS", help="Of a sample; default: several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Say what fits into GPU memory: ZeRO stage, batch, offload and checkpointing for a model.

    Needs only the model's config.json. Leaves with 1 when nothing fits.
    """
    if importlib.util.find_spec("berth_trainer") is None:
        raise Failure(
            "The trainer is not installed here; `pip install 'gpuberth[trainer]'` adds it."
        )
    words = ["--gpus", str(gpus), "--states", states]
    for option, value in (
        ("--stage", stage),
        ("--lora", lora),
        ("--gpu-memory", _gib(gpu_memory, told=not as_json)),
        ("--host-memory", _gib(host_memory)),
        ("--max-length", max_length),
    ):
        words += [option, str(value)] if value is not None else []
    words += (["--four-bit"] if four_bit else []) + (["--json"] if as_json else [])
    command = [sys.executable, "-P", "-m", "berth_trainer.memory", *words, model]
    sys.stdout.flush()
    # In place of this process: the command line itself never imports the trainer.
    os.execv(command[0], command)  # noqa: S606 - an argv list, no shell


def _gib(word: str | None, *, told: bool = False) -> str | None:
    """A size as the trainer reads it; with `told` stderr says what GB were taken for."""
    if word is None:
        return None
    from berth.units import parse_size

    try:
        size = parse_size(int(word) << 30 if word.isdecimal() else word)
    except ValueError as error:
        raise Failure(str(error)) from error
    gib = size / 2**30
    if told and re.search(r"gb$", word.strip(), re.IGNORECASE):
        note(
            f"{word} is {gib:.1f} GiB. Cards have more than the GB they are sold by: write what "
            "nvidia-smi tells, like 81559MiB for an H100 of 80 GB."
        )
    return f"{gib:.6f}GiB"
