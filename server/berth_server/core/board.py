"""The box over time, as one plan fills it: who is where until when, and who claims what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf

from berth_server.core.model import GpuView, JobView, RunningView, Snapshot
from berth_server.core.settings import PolicySettings

_ENDING_S = 60.0
"""What is left of an attempt that is being stopped or is past its limit."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """When and on which GPUs (positions on the board) a gang fits."""

    at_s: float
    """Seconds from now; inf when it cannot be told."""
    gpus: tuple[int, ...]


class Board:
    """
    The GPUs with their busy times. Times are seconds from the snapshot's `now`.

    A GPU is *open* when it is free this moment; `open_until[i]` says when somebody else's
    claim or reservation begins there (inf: never).
    """

    def __init__(self, snapshot: Snapshot, settings: PolicySettings) -> None:
        self.snapshot = snapshot
        self.settings = settings
        self.gpus = snapshot.gpus
        self.positions = {gpu.uuid: i for i, gpu in enumerate(snapshot.gpus)}
        self.ends_s = {run.attempt: self.remaining_s(run) for run in snapshot.running}
        self.free_at = [self._free_at_s(gpu) for gpu in snapshot.gpus]
        self.open = [at == 0.0 for at in self.free_at]
        self.open_until = [inf] * len(snapshot.gpus)
        self.everyone = list(range(len(snapshot.gpus)))
        self.least_total = min((gpu.memory_total_bytes for gpu in snapshot.gpus), default=0)
        self.claimed_by: list[int | None] = [None] * len(snapshot.gpus)
        self.busy: list[list[tuple[float, float]]] = [
            [(0.0, at)] if at else [] for at in self.free_at
        ]

    def remaining_s(self, run: RunningView) -> float:
        """How long an attempt is still taken to run."""
        if run.stopping:
            return _ENDING_S
        elapsed_s = (
            max(0.0, (self.snapshot.now - run.started_at).total_seconds())
            if run.started_at is not None
            else 0.0
        )
        quantile = self.settings.shadow_quantile
        if quantile is not None and run.estimate is not None:
            length_s = run.estimate.quantile_s(quantile, elapsed_s=elapsed_s)
            if run.time_limit is not None:
                length_s = min(length_s, run.time_limit.total_seconds())
            return max(_ENDING_S, length_s - elapsed_s)
        if run.time_limit is not None:
            return max(_ENDING_S, run.time_limit.total_seconds() - elapsed_s)
        assumed_s = self.settings.assumed_length.total_seconds()
        return assumed_s - elapsed_s if elapsed_s < assumed_s else elapsed_s / 2

    def bound_s(self, job: JobView) -> float:
        """How long a job may hold its GPUs if it starts now: its limit, else the assumption."""
        quantile = self.settings.backfill_quantile
        if quantile is not None and job.estimate is not None:
            length_s = job.estimate.quantile_s(quantile)
            return length_s if job.limit_s is None else min(length_s, job.limit_s)
        if job.limit_s is not None:
            return job.limit_s
        return self.settings.assumed_length.total_seconds()

    def usable(self, job: JobView) -> list[int]:
        """Positions of the GPUs that are big enough for the job, whoever is on them."""
        least = job.gpu_memory_bytes or 0
        if least <= self.least_total:
            return self.everyone
        return [i for i, gpu in enumerate(self.gpus) if gpu.memory_total_bytes >= least]

    def slot(self, job: JobView, usable: list[int]) -> Slot:
        """
        The earliest time at which the gang fits without touching what is already claimed.

        Of the GPUs that fit it takes those that come free last, so that what is free now stays
        open to others.
        """
        length_s = self.bound_s(job)
        times = sorted({0.0, *(end for i in usable for _, end in self.busy[i] if end < inf)})
        for at_s in times:
            fitting = [i for i in usable if self._idle(i, at_s, at_s + length_s)]
            if len(fitting) >= job.gpus:
                fitting.sort(key=lambda i: (-self._idle_since(i, at_s), i))
                return Slot(at_s=at_s, gpus=tuple(sorted(fitting[: job.gpus])))
        return Slot(at_s=inf, gpus=())

    def occupy(self, job: JobView, positions: list[int]) -> None:
        """Put a job that starts now onto GPUs."""
        length_s = self.bound_s(job)
        for i in positions:
            self.open[i] = False
            self.busy[i].append((0.0, length_s))
            self.busy[i].sort()

    def claim(self, job: JobView, slot: Slot) -> None:
        """Keep GPUs for a job that must wait: nobody after it may be there at `slot.at_s`."""
        length_s = self.bound_s(job)
        for i in slot.gpus:
            if slot.at_s < self.open_until[i]:
                self.open_until[i] = slot.at_s
                self.claimed_by[i] = job.id
            self.busy[i].append((slot.at_s, slot.at_s + length_s))
            self.busy[i].sort()

    def close(self, positions: list[int]) -> None:
        """Let nobody else start there: a job past the age cap waits for these GPUs."""
        for i in positions:
            self.open[i] = False

    def after(self, seconds: float) -> timedelta:
        """Seconds as a timedelta, at most a century."""
        return timedelta(seconds=min(seconds, 3.15e9))

    def _free_at_s(self, gpu: GpuView) -> float:
        at_s = 0.0
        if gpu.lease is not None:
            at_s = self.ends_s.get(gpu.lease.attempt, _ENDING_S)
        for share in gpu.shares:
            at_s = max(at_s, self.ends_s.get(share.attempt, _ENDING_S))
        if gpu.unavailable is not None:
            at_s = max(at_s, self._unavailable_s(gpu))
        return at_s

    def _unavailable_s(self, gpu: GpuView) -> float:
        reason = gpu.unavailable
        if reason is None:
            return 0.0
        if reason.until is not None:
            return max(1.0, (reason.until - self.snapshot.now).total_seconds())
        return self.settings.leftover_clears.total_seconds() if reason.kind == "leftover" else inf

    def _idle(self, i: int, start_s: float, end_s: float) -> bool:
        return all(end <= start_s or end_s <= start for start, end in self.busy[i])

    def _idle_since(self, i: int, at_s: float) -> float:
        return max((end for _, end in self.busy[i] if end <= at_s), default=0.0)
