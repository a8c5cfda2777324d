"""Wording that several sentences share: GPUs, jobs, users, times, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from berth.protocol.message import Code, GpuRef, JobRef, Message, Part, Span, Time, UserRef
from berth.protocol.states import JobState
from berth_server.core.model import GpuView, LeaseView, Snapshot

Piece = Part | Message | str
"""Pieces that `Message.of` joins."""


def clock(at: datetime) -> Time:
    """A moment: `2026-11-24 14:05 UTC`."""
    return Time(at=at)


def exactly(length: timedelta) -> Span:
    """A duration as it was given: `1h30m`."""
    return Span(seconds=length.total_seconds())


def span(length: timedelta) -> Span:
    """A duration rounded to what matters: `45s`, `12m`, `3h20m`, `2d3h`."""
    seconds = max(0.0, length.total_seconds())
    unit = 1 if seconds < 120 else 60 if seconds < 86400 else 3600
    return Span(seconds=round(seconds / unit) * unit)


def code(text: str) -> Code:
    """A command or a setting: `` `berth gpus` ``."""
    return Code(text=text)


def gpu_list(gpus: Iterable[GpuView]) -> GpuRef:
    """`GPU 3`, `GPUs 0\N{EN DASH}2`."""
    return GpuRef(indices=indices(gpus))


def indices(gpus: Iterable[GpuView]) -> tuple[int, ...]:
    """The box's indices, ascending."""
    return tuple(sorted(gpu.index for gpu in gpus))


def clock_at(seconds: float) -> Time:
    """The same of unix seconds."""
    return Time(at=datetime.fromtimestamp(seconds, UTC))


def job(job_id: int, name: str = "", *, first: bool = False) -> JobRef:
    """`job 4`, `job 4 (train)`; `Job 4` where it is the `first` word."""
    return JobRef(id=job_id, text=f"{'Job' if first else 'job'} {job_id}", name=name)


def job_of(job_id: int, name: str, user: str) -> Message:
    """`job 7 (train) of ada`."""
    return Message.of(job(job_id, name), " of ", UserRef(name=user))


def job_list(snapshot: Snapshot, ids: Sequence[int]) -> Message:
    """`job 4 (train) of ada`, `jobs 4, 5, 6 and 12 more`."""
    if len(ids) == 1:
        only = snapshot.pending.get(ids[0])
        if only is None:
            return Message.of(job(ids[0]))
        return job_of(only.id, only.name, only.user)
    pieces: list[Piece] = ["jobs "]
    for place, job_id in enumerate(ids[:5]):
        pieces += [", " if place else "", JobRef(id=job_id, text=str(job_id))]
    if len(ids) > 5:
        pieces.append(f" and {len(ids) - 5} more")
    return Message.of(*pieces)


def holder(lease: LeaseView) -> Message:
    """`job 7 (train) of ada`."""
    return job_of(lease.job_id, lease.job_name, lease.user)


def user_list(names: Iterable[str]) -> Message:
    """`ada, bob`."""
    pieces: list[Piece] = []
    for place, name in enumerate(names):
        pieces += [", " if place else "", UserRef(name=name)]
    return Message.of(*pieces)


def count(n: int, noun: str) -> str:
    """`1 GPU`, `3 GPUs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def gib(size: int) -> str:
    """Bytes as GiB: `40 GiB`."""
    return f"{size / 2**30:.4g} GiB"


def gib_used(size: int) -> str:
    """Measured bytes as GiB: `31.2 GiB`."""
    return f"{size / 2**30:.1f} GiB"


def percent(part: float) -> str:
    """`50 %`."""
    return f"{100 * part:.0f} %"


def because(reason: str | None) -> str:
    """A user's reason after a sentence: `: new fan`; nothing without one."""
    return f": {reason.rstrip('.')}" if reason else ""


def has_ended(state: JobState | str, *, already: bool = False) -> str:
    """Return the end of a job as the predicate of a sentence: `has succeeded`, `was cancelled`."""
    value = JobState(state)
    verb = "was" if value is JobState.CANCELLED else "has"
    return f"{verb} already {value.value}" if already else f"{verb} {value.value}"
