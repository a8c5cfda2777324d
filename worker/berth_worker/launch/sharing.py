"""What a job on a shared card is told, so that it keeps to its part by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import DesiredAttempt
from berth_worker.launch.interpreter import Interpreter

_OPTION = "per_process_memory_fraction"
_WHERE = "lib/python3*/site-packages/torch/include/c10/cuda/CUDAAllocatorConfig.h"


def variables(
    desired: DesiredAttempt, gpus: Sequence[GpuSnapshot], interpreter: Interpreter
) -> dict[str, str]:
    """
    Soft caps for the frameworks that take them from the environment; empty for whole cards.

    JAX would take three quarters of the card and TensorFlow all of it, whoever else is there.
    A torch that does not know its option refuses to start, so it is only given to one that
    names it in its own headers.
    """
    if not desired.share or desired.gpu_memory is None or not desired.gpus:
        return {}
    total = next((g.memory_total_bytes for g in gpus if g.uuid == desired.gpus[0].uuid), 0)
    found = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if total:
        fraction = f"{min(1.0, desired.gpu_memory / total):.4f}"
        found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = fraction
        if _torch_takes_it(Path(interpreter.path).parent.parent):
            found["PYTORCH_CUDA_ALLOC_CONF"] = f"{_OPTION}:{fraction}"
    return found


@lru_cache(maxsize=64)
def _torch_takes_it(environment: Path) -> bool:
    for header in environment.glob(_WHERE):
        try:
            return f'"{_OPTION}"' in header.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    return False
