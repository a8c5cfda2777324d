"""Conservative backfill: every waiting job has a start time that no later job may delay."""

from __future__ import annotations

from bisect import bisect_left, insort

from baselines import Key, Length, Queue, by_length, limit_or_longest, submit_order
from workload import TraceJob

DEPTH = 100
"""How many waiting jobs are given a start; those behind wait, as with Slurm's bf_max_job_test."""


class Profile:
    """Free GPUs over time, as steps."""

    def __init__(self, now_s: float, free: int, ends: list[tuple[float, int]]) -> None:
        self.times = [now_s]
        self.free = [free]
        for end_s, gpus in sorted(ends):
            if end_s > self.times[-1]:
                self.times.append(end_s)
                self.free.append(self.free[-1])
            self.free[-1] += gpus

    def place(self, gpus: int, length_s: float) -> float:
        """Take the earliest stretch in which that many are free, and return its start."""
        times, free = self.times, self.free
        first = 0
        while True:
            end_s = times[first] + length_s
            last = bisect_left(times, end_s)
            short = next((i for i in range(last - 1, first - 1, -1) if free[i] < gpus), None)
            if short is None:
                break
            first = short + 1
        if last == len(times) or times[last] > end_s:
            times.insert(last, end_s)
            free.insert(last, free[last - 1])
        for i in range(first, last):
            free[i] -= gpus
        return times[first]


class Conservative(Queue):
    """In order; each gets the earliest start that delays none before it."""

    def __init__(self, gpus: int, key: Key, length: Length) -> None:
        super().__init__(gpus, key)
        self.length = length

    def pick(self, now_s: float) -> list[TraceJob]:
        """Plan again at each event, so that early ends move all jobs up."""
        ends: list[tuple[float, int]] = []
        for at_s, job in self.running.values():
            insort(ends, (max(now_s + 60.0, at_s + self.length(job)), job.gpus))
        profile = Profile(now_s, self.free, ends)
        return [
            job
            for job in self.waiting[:DEPTH]
            if profile.place(job.gpus, self.length(job)) <= now_s
        ]


def conservatives(gpus: int) -> dict[str, Queue]:
    """The counterparts of the two EASY baselines."""
    return {
        "conservative, user limits": Conservative(gpus, submit_order, limit_or_longest),
        "conservative, clairvoyant": Conservative(gpus, by_length, lambda job: job.length_s),
    }
