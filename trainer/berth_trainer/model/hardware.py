"""Hardware detection: device, precision, attention, CPU Adam."""

import importlib.util
import os
import shutil
from collections.abc import MutableMapping
from dataclasses import dataclass

from berth_trainer.config.environment import simulated
from berth_trainer.config.settings import Settings
from berth_trainer.errors import UserError


@dataclass(frozen=True, slots=True)
class Hardware:
    """
    The hardware of this process. `attention` auto leaves the choice to transformers.
    `cpu_adam`: DeepSpeed's compiled Adam for offloaded optimizers is, or can be, built.
    """

    cuda: bool
    precision: str
    attention: str
    cpu_adam: bool
    notes: tuple[str, ...] = ()
    """Reasons why something faster is not used, in sentences for the log."""


def detect_hardware(settings: Settings, environment: MutableMapping[str, str]) -> Hardware:
    """
    Return device, precision and attention to use; imports torch.

    Sets DS_ACCELERATOR where there is no GPU. Raises UserError where the config file asks for
    what this machine lacks.
    """
    import torch

    cuda = not simulated(environment) and torch.cuda.is_available()
    if not cuda:
        environment["DS_ACCELERATOR"] = "cpu"
        # Unset, DeepSpeed counts devices by starting `numactl` dozens of times a step.
        environment.setdefault("LOCAL_SIZE", environment.get("LOCAL_WORLD_SIZE", "1"))
    able = cuda and torch.cuda.is_bf16_supported()
    dtype = settings.model.dtype
    precision = dtype if dtype != "auto" else "bf16" if able else "fp32"
    if cuda and precision == "bf16" and not able:
        raise UserError("model.dtype is bf16, which this GPU does not support; set it to fp32.")
    attention, notes = _attention(settings.model.attention, cuda=cuda, precision=precision)
    compilers = all(shutil.which(name) for name in ("g++", "ninja"))
    by_gpu = settings.deepspeed.stage == 3 and settings.training.optimizer_states == "fp32"
    by_cpu = settings.deepspeed.offload_optimizer == "cpu" and not by_gpu
    if cuda and by_cpu and not compilers:
        why = (
            "DeepSpeed's CPU Adam needs g++ and ninja to be built; torch's own is used, which is "
            "several times slower."
        )
        notes += (why,)
    return Hardware(cuda, precision, attention, cuda and compilers, notes)


def _attention(asked: str, *, cuda: bool, precision: str) -> tuple[str, tuple[str, ...]]:
    """Return the attention implementation, and notes on a faster one. Raises UserError."""
    import torch

    able = cuda and precision == "bf16"
    hopper = able and torch.cuda.get_device_capability()[0] >= 9
    installed = [
        name
        for name, package, fits in (
            ("flash_attention_3", "flash_attn_interface", hopper),
            ("flash_attention_2", "flash_attn", able),
        )
        if fits and importlib.util.find_spec(package) is not None
    ]
    if asked.startswith("flash_attention") and asked not in installed:
        raise UserError(
            f"model.attention is {asked}, which needs the flash-attn package of that version, a "
            "CUDA GPU that it supports and bf16; set it to sdpa or auto."
        )
    if asked != "auto":
        return asked, ()
    if installed:
        return installed[0], ()
    why = "the flash-attn package is not installed: torch's own kernels are used"
    return asked, (f"attention: {why}.",) if able else ()


def prepare_deepspeed(hardware: Hardware) -> None:
    """
    Open the process group on the CPU before anything builds under zero.Init.

    TrainingArguments(use_cpu=True) opens torch's group but not DeepSpeed's own, which then
    sees a single rank and refuses the batch sizes. On CUDA TrainingArguments does it right.
    """
    if hardware.cuda:
        from berth_trainer.model import flat_partitions

        flat_partitions.install()
        return
    import deepspeed
    import deepspeed.ops

    # Compiled at every start on a machine without it (a minute), and it buys nothing here.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _quieten()
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)


def _quieten() -> None:
    import logging

    if os.environ.get("BERTH_TRAINER_DEBUG"):
        return
    for name in ("DeepSpeed", "deepspeed", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
