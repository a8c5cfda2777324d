"""Words for people: GPUs, jobs, times, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from berth.gpunames import named
from berth.units import format_duration
from berth_server.core.model import GpuView, LeaseView, Snapshot


def clock(at: datetime) -> str:
    """A time, in UTC: `2026-11-24 14:05 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """A length rounded to what matters: `45s`, `12m`, `3h20m`, `2d3h`."""
    seconds = max(0.0, length.total_seconds())
    unit = 1 if seconds < 120 else 60 if seconds < 86400 else 3600
    return format_duration(timedelta(seconds=round(seconds / unit) * unit))


def gpu_list(gpus: Iterable[GpuView]) -> str:
    """`GPU 3`, `GPUs 0\N{EN DASH}2`."""
    return named(indices(gpus))


def indices(gpus: Iterable[GpuView]) -> tuple[int, ...]:
    """The box's indices, ascending."""
    return tuple(sorted(gpu.index for gpu in gpus))


def job_list(snapshot: Snapshot, ids: Sequence[int]) -> str:
    """`job 4 (train) of ada`, `jobs 4, 5, 6 and 12 more`."""
    if len(ids) == 1:
        job = snapshot.pending.get(ids[0])
        if job is None:
            return f"job {ids[0]}"
        return f"job {job.id}{_named(job.name)} of {job.user}"
    shown = ", ".join(str(i) for i in ids[:5])
    return f"jobs {shown}" if len(ids) <= 5 else f"jobs {shown} and {len(ids) - 5} more"


def holder(lease: LeaseView) -> str:
    """`job 7 (train) of ada`."""
    return f"job {lease.job_id}{_named(lease.job_name)} of {lease.user}"


def count(n: int, noun: str) -> str:
    """`1 GPU`, `3 GPUs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def gib(size: int) -> str:
    """Bytes as GiB: `40 GiB`."""
    return f"{size / 2**30:.4g} GiB"


def sentence(text: str) -> str:
    """The text with exactly one full stop."""
    return text.rstrip().rstrip(".") + "."


def _named(name: str) -> str:
    return f" ({name})" if name else ""
