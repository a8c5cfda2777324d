"""The box in virtual time: jobs arrive and end, a scheduler is asked at each event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from workload import TraceJob


class Scheduler(Protocol):
    """Interface of the engine to a scheduler. Implementations keep their own queue."""

    def arrive(self, job: TraceJob) -> None:
        """A job is submitted."""
        ...

    def end(self, job: TraceJob, now_s: float) -> None:
        """A running job ended."""
        ...

    def starts(self, now_s: float) -> Iterable[TraceJob]:
        """Jobs that start now; the scheduler counts them as running from here."""
        ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """One job's fate."""

    job: TraceJob
    started_s: float

    @property
    def wait_s(self) -> float:
        """From submit to start."""
        return self.started_s - self.job.arrives_s

    @property
    def ended_s(self) -> float:
        """Time of its end."""
        return self.started_s + self.job.length_s


def replay(jobs: list[TraceJob], scheduler: Scheduler, gpus: int) -> list[Run]:
    """Play all jobs to their ends; raises RuntimeError on an overfull box or a stuck queue."""
    ends: list[tuple[float, int, TraceJob]] = []
    runs: list[Run] = []
    free = gpus
    arrived = 0
    while arrived < len(jobs) or ends:
        now_s = min(
            jobs[arrived].arrives_s if arrived < len(jobs) else float("inf"),
            ends[0][0] if ends else float("inf"),
        )
        while ends and ends[0][0] <= now_s:
            _, _, job = heappop(ends)
            free += job.gpus
            scheduler.end(job, now_s)
        while arrived < len(jobs) and jobs[arrived].arrives_s <= now_s:
            scheduler.arrive(jobs[arrived])
            arrived += 1
        if free:
            for job in scheduler.starts(now_s):
                free -= job.gpus
                heappush(ends, (now_s + job.length_s, job.id, job))
                runs.append(Run(job=job, started_s=now_s))
        if free < 0:
            raise RuntimeError(f"{-free} GPUs too many in use at {now_s} s.")
    if len(runs) != len(jobs):
        raise RuntimeError(f"{len(jobs) - len(runs)} jobs never started.")
    return runs
