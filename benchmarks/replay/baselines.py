"""Baseline policies for comparison. All count GPUs only: the box is uniform."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable

from workload import LONGEST_S, TraceJob

Key = Callable[[TraceJob], tuple[float, ...]]
Length = Callable[[TraceJob], float]


def submit_order(job: TraceJob) -> tuple[float, ...]:
    """First come, first served."""
    return (job.arrives_s, job.id)


def by_limit(job: TraceJob) -> tuple[float, ...]:
    """Shortest time limit first."""
    return (job.limit_s or LONGEST_S, job.arrives_s, job.id)


def by_length(job: TraceJob) -> tuple[float, ...]:
    """Shortest true length first: only a clairvoyant can."""
    return (job.length_s, job.arrives_s, job.id)


class Queue:
    """A sorted queue; subclasses say what starts."""

    def __init__(self, gpus: int, key: Key = submit_order) -> None:
        self.free = gpus
        self.key = key
        self.waiting: list[TraceJob] = []
        self.running: dict[int, tuple[float, TraceJob]] = {}

    def arrive(self, job: TraceJob) -> None:
        """Take a job in at its place."""
        insort(self.waiting, job, key=self.key)

    def end(self, job: TraceJob, now_s: float) -> None:  # noqa: ARG002 - part of the protocol
        """Give its GPUs back."""
        self.free += job.gpus
        del self.running[job.id]

    def starts(self, now_s: float) -> Iterable[TraceJob]:
        """Start what `pick` says."""
        picked = self.pick(now_s)
        chosen = {job.id for job in picked}
        if chosen:
            self.waiting = [job for job in self.waiting if job.id not in chosen]
        for job in picked:
            self.free -= job.gpus
            self.running[job.id] = (now_s, job)
        return picked

    def pick(self, now_s: float) -> list[TraceJob]:
        """Choose the jobs of `waiting` that start now."""
        raise NotImplementedError


class Strict(Queue):
    """In order; who does not fit stops everybody behind."""

    def pick(self, now_s: float) -> list[TraceJob]:  # noqa: ARG002 - part of the protocol
        """Take from the front while they fit."""
        free, picked = self.free, []
        for job in self.waiting:
            if job.gpus > free:
                break
            free -= job.gpus
            picked.append(job)
        return picked


class Skip(Queue):
    """In order; who does not fit is passed over."""

    def pick(self, now_s: float) -> list[TraceJob]:  # noqa: ARG002 - part of the protocol
        """Take every job that fits."""
        free, picked = self.free, []
        for job in self.waiting:
            if free == 0:
                break
            if job.gpus <= free:
                free -= job.gpus
                picked.append(job)
        return picked


class Easy(Queue):
    """In order; the first that does not fit gets a reservation, who does not delay it goes ahead."""

    def __init__(self, gpus: int, key: Key, length: Length) -> None:
        super().__init__(gpus, key)
        self.length = length

    def pick(self, now_s: float) -> list[TraceJob]:
        """EASY backfill by `length`."""
        free, picked = self.free, []
        ends = [(at + self.length(job), job.gpus) for at, job in self.running.values()]
        shadow_s: float | None = None
        extra = 0
        for job in self.waiting:
            if free == 0:
                break
            if shadow_s is None:
                if job.gpus <= free:
                    free -= job.gpus
                    picked.append(job)
                    ends.append((now_s + self.length(job), job.gpus))
                else:
                    shadow_s, extra = self._shadow(job, free, ends, now_s)
            elif job.gpus <= free:
                if now_s + self.length(job) <= shadow_s:
                    free -= job.gpus
                    picked.append(job)
                elif job.gpus <= extra:
                    free -= job.gpus
                    extra -= job.gpus
                    picked.append(job)
        return picked

    def _shadow(
        self, head: TraceJob, free: int, ends: list[tuple[float, int]], now_s: float
    ) -> tuple[float, int]:
        """Expected start of the head, and the number of GPUs it leaves then."""
        for at_s, gpus in sorted(ends):
            free += gpus
            if free >= head.gpus:
                return max(now_s, at_s), free - head.gpus
        return float("inf"), 0


def limit_or_longest(job: TraceJob) -> float:
    """Length of a job by its user's limit."""
    return job.limit_s or LONGEST_S


def baselines(gpus: int) -> dict[str, Queue]:
    """Every baseline, fresh."""
    return {
        "FIFO": Strict(gpus),
        "greedy skip": Skip(gpus),
        "EASY, user limits": Easy(gpus, submit_order, limit_or_longest),
        "shortest limit first": Skip(gpus, by_limit),
        "clairvoyant": Easy(gpus, by_length, lambda job: job.length_s),
    }
