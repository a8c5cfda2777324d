"""GPU shares in limits, GPU-hours and lost work: the fraction of the GPU's memory."""

from __future__ import annotations

from collections.abc import Sequence

from berth_server.core.model import GpuView, JobView


def share_fraction(memory_bytes: int | None, gpu_bytes: int | None) -> float:
    """Fraction of a GPU that a lease is: 1.0 for a whole GPU (`memory_bytes` None), a share less."""
    if memory_bytes is None or not gpu_bytes:
        return 1.0
    return min(1.0, memory_bytes / gpu_bytes)


def wanted(job: JobView, gpus: Sequence[GpuView]) -> float:
    """
    Number of GPUs that a pending job will count for.

    On which GPU a share will lie is not known yet: on the smallest that has room for it, so
    that it never counts for more once it runs.
    """
    if not job.share:
        return float(job.gpus)
    least = job.gpu_memory_bytes or 0
    sizes = [gpu.memory_total_bytes for gpu in gpus if gpu.memory_total_bytes >= least]
    return share_fraction(job.gpu_memory_bytes, min(sizes, default=None))
