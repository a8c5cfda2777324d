"""Memory limits that a job on a shared GPU gets in its environment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import DesiredAttempt
from berth_worker.launch import as_user
from berth_worker.launch.account import Account, account
from berth_worker.launch.interpreter import Interpreter

_OPTION = "per_process_memory_fraction"
_FRESH_S = 600.0


def variables(
    desired: DesiredAttempt,
    gpus: Sequence[GpuSnapshot],
    interpreter: Interpreter,
    who: Account | None = None,
) -> dict[str, str]:
    """
    Return soft limits for frameworks that read them from the environment; empty for whole GPUs.

    `who` is the job's user, as whom its environment is looked at.

    By default JAX takes three quarters of a GPU and TensorFlow all of it. A torch that does not
    know the option refuses to start, so it is set only for one that names it in its headers.
    """
    if not desired.share or desired.gpu_memory is None or not desired.gpus:
        return {}
    total = next((g.memory_total_bytes for g in gpus if g.uuid == desired.gpus[0].uuid), 0)
    found = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if total:
        fraction = f"{min(1.0, desired.gpu_memory / total):.4f}"
        found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = fraction
        environment = str(Path(interpreter.path).parent.parent)
        moment = int(time.monotonic() / _FRESH_S)
        if _torch_knows_option(who or account(desired.uid), environment, moment):
            found["PYTORCH_CUDA_ALLOC_CONF"] = f"{_OPTION}:{fraction}"
    return found


@lru_cache(maxsize=64)
def _torch_knows_option(who: Account, environment: str, _moment: int) -> bool:
    """Return whether an environment's torch knows the option, asked once in ten minutes."""
    return as_user.ask(who, "torch-names", environment, _OPTION) or False
