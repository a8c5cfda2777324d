"""What this process can compute on, asked once torch is there."""

import importlib.util
import os
import shutil
from collections.abc import MutableMapping
from dataclasses import dataclass

from berth_trainer.environment import simulated
from berth_trainer.problem import Problem
from berth_trainer.settings import Settings


@dataclass(frozen=True, slots=True)
class Hardware:
    """
    `attention` auto leaves the choice to transformers, which knows what the model can.
    `cpu_adam`: DeepSpeed's compiled Adam for offloaded optimizers is, or can be, built.
    """

    cuda: bool
    precision: str
    attention: str
    cpu_adam: bool


def look(settings: Settings, environment: MutableMapping[str, str]) -> Hardware:
    """
    Decide device, precision and attention; imports torch.

    Sets DS_ACCELERATOR where there is no GPU. Raises Problem where the config file asks for
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
        raise Problem("model.dtype is bf16, which this GPU does not compute; set it to fp32.")
    flash = cuda and precision == "bf16" and importlib.util.find_spec("flash_attn") is not None
    attention = settings.model.attention
    if attention == "auto" and flash:
        attention = "flash_attention_2"
    if attention == "flash_attention_2" and not flash:
        raise Problem(
            "model.attention is flash_attention_2, which needs the flash-attn package, a CUDA GPU "
            "and bf16; set it to sdpa or auto."
        )
    compilers = all(shutil.which(name) for name in ("g++", "ninja"))
    return Hardware(cuda, precision, attention, cpu_adam=cuda and compilers)


def prepare_deepspeed(hardware: Hardware) -> None:
    """
    Open the process group on the CPU before anything builds under zero.Init.

    TrainingArguments(use_cpu=True) opens torch's group but not DeepSpeed's own, which then
    sees a single rank and refuses the batch sizes. On CUDA TrainingArguments does it right.
    """
    if hardware.cuda:
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
