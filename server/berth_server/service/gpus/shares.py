"""GPUs that several jobs share: what each job may use, and which uses more."""

from __future__ import annotations

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.message import Message
from berth_server.core.explain import gpu_status
from berth_server.core.model import LeaseView

CONTEXT_BYTES = 1792 << 20
"""Allowance for each process of a share beyond it: CUDA's context and the libraries' code lie on
the GPU as well, and no framework counts them as its own. On an H100 that was 0.6 to 0.7 GiB with
PyTorch alone, 1.3 to 1.7 with DeepSpeed and NCCL."""


def used_bytes(gpu: GpuSnapshot, attempt: str) -> int | None:
    """GPU memory that an attempt's processes hold, bytes; None when the driver does not say."""
    held = [process.memory_bytes for process in gpu.processes if process.attempt == attempt]
    known = [size for size in held if size is not None]
    return sum(known) if len(known) == len(held) else None


def overuse(gpu: GpuSnapshot, share: LeaseView) -> Message | None:
    """The sentence when an attempt uses more of a GPU than it declared; None when it does not."""
    used, declared = used_bytes(gpu, share.attempt), share.memory_bytes
    if used is None or declared is None:
        return None
    processes = sum(process.attempt == share.attempt for process in gpu.processes)
    if used <= declared + processes * CONTEXT_BYTES:
        return None
    return gpu_status.overuse(gpu.index, share, used, CONTEXT_BYTES)
