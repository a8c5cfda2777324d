"""Apply the memory plan to the run that is starting, before the model is loaded."""

import os
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.config.settings import Settings
from berth_trainer.errors import UserError
from berth_trainer.memory import Budget, ModelShape, ShapeError, decide, read_shape
from berth_trainer.memory.decide import Decision
from berth_trainer.memory.estimate import CONTEXT_BYTES, setup_json
from berth_trainer.memory.sizes import GIB, host_memory
from berth_trainer.model.hardware import Hardware
from berth_trainer.model.prepare import uses_fused_layers
from berth_trainer.training import oom_steps
from berth_trainer.training.ranks import Ranks, log0, warn

FILE = "plan.json"


def apply_plan(
    settings: Settings, config: Any, hardware: Hardware, ranks: Ranks
) -> tuple[Settings, Decision | None]:
    """
    Return the settings to run with, and the plan where GPU and formula exist.

    Every rank decides the same, from what is the same on every rank: a GPU's total memory and
    the machine's. Prints what was decided and why. Raises UserError for what cannot run at all.
    """
    settings = decide.with_four_bit(settings)
    _check_packages(settings, hardware)
    for sentence in hardware.notes:
        log0(sentence)
    decision: Decision | None = None
    shape = _shape(config) if hardware.cuda else None
    if shape is None:
        settings = decide.with_global_batch(settings, ranks.world_size)
        if settings.training.plan == "auto":
            why = "this kind of model has no memory formula" if hardware.cuda else "there is no GPU"
            log0(f"plan: {why}, so the keys are used as they stand.")
    else:
        decision, settings = _decide(settings, shape, config, hardware, ranks)
    steps = os.environ.get(oom_steps.STEPS_VARIABLE, "")
    settings, notes = oom_steps.apply(settings, steps, cpu_adam=hardware.cpu_adam)
    for sentence in notes:
        log0(sentence)
    _check_host_adam(settings, hardware)
    return settings, decision


def write_plan(decision: Decision, folders: list[Path]) -> None:
    """Write `plan.json`, to compare with what the run then used."""
    need = decision.need
    word = {
        "gpu_gib": round(need.gpu / GIB, 2),
        "allocated_gib": round(need.allocated / GIB, 2),
        "host_gib": round(need.host / GIB, 1),
        "parts_gib": {name: round(size / GIB, 2) for name, size in need.parts.items()},
        "setup": setup_json(decision.setup),
        "told": list(decision.notes),
        "warnings": list(decision.warnings),
    }
    for folder in folders:
        write_json(folder / FILE, word)


def _decide(
    settings: Settings, shape: ModelShape, config: Any, hardware: Hardware, ranks: Ranks
) -> tuple[Decision, Settings]:
    import torch

    free, total = torch.cuda.mem_get_info(ranks.local_rank)
    nodes = max(1, ranks.world_size // ranks.local_world_size)
    budget = Budget(gpu=total, host=nodes * host_memory())
    decision = decide.decide(
        settings,
        shape,
        gpus=ranks.world_size,
        budget=budget,
        fused=uses_fused_layers(settings, config, hardware),
    )
    for sentence in decision.notes:
        log0(sentence)
    for sentence in decision.warnings:
        warn(sentence)
    decide.refuse_impossible(decision, budget)
    wanted = decision.need.gpu - CONTEXT_BYTES
    if wanted > free and not decision.warnings:
        warn(
            f"the plan needs {wanted / GIB:.1f} GiB, but {free / GIB:.1f} of this GPU are free: "
            "another process is using it."
        )
    return decision, decision.settings


def _shape(config: Any) -> ModelShape | None:
    try:
        return read_shape(config.to_dict())
    except ShapeError as error:
        log0(f"no memory plan: {error}")
        return None


def _check_packages(settings: Settings, hardware: Hardware) -> None:
    from importlib.util import find_spec

    eight_bit = settings.training.optimizer_states == "8bit"
    four_bit = settings.lora.quantize == "4bit"
    key = "training.optimizer_states 8bit" if eight_bit else "lora.quantize 4bit"
    if (eight_bit or four_bit) and find_spec("bitsandbytes") is None:
        raise UserError(
            f"{key} needs the bitsandbytes package: `pip install bitsandbytes` adds it."
        )
    if eight_bit and not hardware.cuda:
        raise UserError(f"{key} needs a GPU; set it to fp32.")
    if eight_bit and settings.deepspeed.offload_optimizer == "cpu":
        raise UserError(
            f"{key} keeps its states on the GPU; set deepspeed.offload_optimizer to none."
        )
    if settings.training.optimizer_states == "bf16" and hardware.precision != "bf16":
        raise UserError(
            "training.optimizer_states bf16 needs weights in bf16; set model.dtype to bf16, or the "
            "states to fp32."
        )


def _check_host_adam(settings: Settings, hardware: Hardware) -> None:
    """Check after the plan, which may have moved the optimizer off the host. Raises UserError."""
    bf16 = settings.training.optimizer_states == "bf16"
    if bf16 and settings.deepspeed.offload_optimizer == "cpu" and not hardware.cpu_adam:
        raise UserError(
            "training.optimizer_states bf16 on the host needs DeepSpeed's CPU Adam, which cannot be "
            "built here; set deepspeed.offload_optimizer to none, or the states to fp32."
        )
