"""Conversion of checkpoints for other ranks or another stage, to DeepSpeed's universal format."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint import counters, stages
from berth_trainer.errors import UserError
from berth_trainer.file_lock import locked
from berth_trainer.training.ranks import log0

LATEST = "latest_universal"  # DeepSpeed reads it; written last, so what it names is whole
_BUILDING = "universal.building"


def convert(checkpoint: Path, stage: int) -> None:
    """
    Write the checkpoint's universal form next to its shards, once, by whichever rank is first.

    It holds 12 bytes for each trained parameter, and while it is made twice that. `stage` is the
    ZeRO stage that will read it. Raises UserError where DeepSpeed cannot make it.
    """
    form = f"_universal_{'stage3' if stage == 3 else 'stages12'}"
    with locked(checkpoint / ".universal.lock"):
        if _made(checkpoint).endswith(form):
            return
        forget(checkpoint)
        shards = checkpoint / (checkpoint / "latest").read_text("utf-8").strip()
        log0(f"{checkpoint} is being converted for other ranks or another ZeRO stage.")
        building = checkpoint / _BUILDING
        shutil.rmtree(building, ignore_errors=True)
        made = building / f"{shards.name}{form}"
        done = subprocess.run(
            [
                sys.executable, stages.__file__, str(stage),
                "--input_folder", str(shards), "--output_folder", str(made),
                "--inject_missing_state",
            ],
            env={**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
            raise UserError(
                f"{checkpoint} cannot be converted for other ranks or another ZeRO stage ({last}): "
                "start with as many GPUs and the deepspeed.stage that wrote it."
            )
        target = checkpoint / made.name
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
        shutil.rmtree(building)
        temporary = checkpoint / f".{LATEST}"
        temporary.write_text(target.name, "utf-8")
        temporary.replace(checkpoint / LATEST)


def forget(checkpoint: Path) -> None:
    """Delete the universal form, once every rank has read it: it is as large as the checkpoint."""
    name = _made(checkpoint)
    if name:
        (checkpoint / LATEST).unlink()
        shutil.rmtree(checkpoint / name, ignore_errors=True)


def fix_optimizer(engine: Any, weight_decays: list[float]) -> None:
    """
    Repair what loading a universal checkpoint leaves wrong in a ZeRO-3 optimizer.

    DeepSpeed gives every parameter group one and the same step counter, which then counts
    once for each group: with two groups Adam's bias correction drifts from the next step on.
    It leaves the counters on the CPU, where an Adam of one kernel cannot read them. And it gives
    every group the first one's weight decay. `weight_decays`: what each group was made with.
    """
    optimizer = getattr(engine.optimizer, "optimizer", None)
    if optimizer is None:
        return
    counters.fit(optimizer)
    for group, decay in zip(optimizer.param_groups, weight_decays, strict=True):
        group["weight_decay"] = decay


def _made(checkpoint: Path) -> str:
    """Return the name of the universal form that is there; empty without one."""
    try:
        return (checkpoint / LATEST).read_text("utf-8").strip()
    except OSError:
        return ""
