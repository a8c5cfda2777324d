"""Variants of a job's request: what else it could ask for, one thing changed each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

_MOST_GPUS = 8
_LIMITS = tuple(timedelta(hours=hours) for hours in (1, 4, 12, 24))
_LEAST_LIMIT = timedelta(minutes=5)

Varies = Literal["nothing", "gpus", "time_limit", "share", "preemptible"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The part of a job's specification that decides when it starts."""

    gpus: int
    time_limit: timedelta | None = None
    gpu_memory: int | None = None
    share: bool = False
    preemptible: bool = False


def variants(asked: Request, memories: Sequence[int]) -> Iterator[tuple[Varies, Request]]:
    """
    Yield the request itself, then other numbers of GPUs, time limits, a share, the other preemptible.

    `memories` are those of the box's GPUs, bytes. A job without GPUs has no variants.
    """
    yield "nothing", asked
    if not asked.gpus:
        return
    if not asked.share:
        fit = [memory for memory in memories if memory >= (asked.gpu_memory or 0)]
        for gpus in range(1, min(_MOST_GPUS, len(fit)) + 1):
            if gpus != asked.gpus:
                yield "gpus", replace(asked, gpus=gpus)
    for limit in _limits(asked.time_limit):
        yield "time_limit", replace(asked, time_limit=limit)
    if asked.share:
        yield "share", replace(asked, share=False)
    elif asked.gpus == 1 and memories:
        # Half a GPU, where it did not say how much it needs.
        part = asked.gpu_memory or min(memories) // 2
        if part < max(memories):
            yield "share", replace(asked, share=True, gpu_memory=part)
    yield "preemptible", replace(asked, preemptible=not asked.preemptible)


def _limits(limit: timedelta | None) -> tuple[timedelta | None, ...]:
    if limit is None:
        return _LIMITS
    shorter = (limit / 4, limit / 2)
    return (*(one for one in shorter if one >= _LEAST_LIMIT), limit * 2, None)
