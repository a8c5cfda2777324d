"""The box as one plan fills it: which GPU is open, and when the others come free."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf

from berth_server.core.model import GpuView, JobView, ReservationView, RunningView, Snapshot
from berth_server.core.settings import PolicySettings

ENDING_S = 60.0
"""What is left of an attempt that is being stopped or has outlived its limit."""


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """The claim of a blocked gang. Times are seconds from the snapshot's `now`."""

    job: JobView
    usable: tuple[int, ...]
    """Positions of the GPUs that are big enough for it."""
    expected_s: float
    """When it should have its GPUs, going by estimates."""
    latest_s: float
    """When it has them if everybody runs to the time limit."""
    gpus: tuple[int, ...]
    """Positions of those that it gets first."""


class Board:
    """
    The GPUs in two futures: `expected_s` by estimates, `latest_s` by time limits.

    Each tells per GPU, in seconds from the snapshot's `now`, when it comes free: 0.0 is open
    this moment, inf is not in sight. `room` is the memory that is left on cards in shares.
    """

    def __init__(self, snapshot: Snapshot, settings: PolicySettings) -> None:
        self.snapshot = snapshot
        self.settings = settings
        self.gpus = snapshot.gpus
        self.positions = {gpu.uuid: i for i, gpu in enumerate(snapshot.gpus)}
        self.everyone = tuple(range(len(self.gpus)))
        self.least_bytes = min((gpu.memory_total_bytes for gpu in self.gpus), default=0)
        self.assumed_s = settings.assumed_length.total_seconds()
        self.expected_s = [0.0] * len(self.gpus)
        self.latest_s = [0.0] * len(self.gpus)
        self.parts: list[list[tuple[float, int]]] = [[] for _ in self.gpus]
        """The shares on each card: when they should end, and their bytes."""
        for run in snapshot.running:
            self._put(run)
        for i, gpu in enumerate(self.gpus):
            self._mark(i, gpu)
        self.open = [at == 0.0 for at in self.expected_s]
        self.room = [_room(gpu) for gpu in self.gpus]
        self.shadow: Shadow | None = None

    def usable(self, job: JobView) -> tuple[int, ...]:
        """Positions of the GPUs that are big enough for the job, whoever is on them."""
        least = job.gpu_memory_bytes or 0
        if least <= self.least_bytes:
            return self.everyone
        return tuple(i for i, gpu in enumerate(self.gpus) if gpu.memory_total_bytes >= least)

    def bound_s(self, job: JobView) -> float:
        """How long the job may hold its GPUs at most."""
        return self.assumed_s if job.limit_s is None else job.limit_s

    def likely_s(self, job: JobView) -> float:
        """By when the job is off its GPUs, going by the `backfill_quantile` of its estimate."""
        quantile = self.settings.backfill_quantile
        if job.estimate is None or quantile is None:
            return self.bound_s(job)
        length_s = job.estimate.quantile_s(quantile)
        return length_s if job.limit_s is None else min(length_s, job.limit_s)

    def occupy(self, job: JobView, positions: tuple[int, ...]) -> None:
        """Put a job that starts now onto GPUs."""
        likely_s, bound_s = self.likely_s(job), self.bound_s(job)
        for i in positions:
            if job.share:
                left = self.gpus[i].memory_total_bytes if self.open[i] else self.room[i]
                self.room[i] = left - (job.gpu_memory_bytes or left)
                self.parts[i].append((likely_s, job.gpu_memory_bytes or left))
            self.open[i] = False
            self.expected_s[i] = max(self.expected_s[i], likely_s)
            self.latest_s[i] = max(self.latest_s[i], bound_s)

    def close(self, positions: tuple[int, ...]) -> None:
        """Let nobody else start on these GPUs."""
        for i in positions:
            self.open[i] = False
            self.room[i] = 0

    def vacate(self, run: RunningView) -> None:
        """Take an attempt to end shortly, because it is going to be stopped."""
        for uuid in run.gpu_uuids:
            i = self.positions.get(uuid)
            if i is not None and self.gpus[i].unavailable is None:
                self.expected_s[i] = self.latest_s[i] = ENDING_S

    def cast(self, job: JobView, usable: tuple[int, ...]) -> Shadow | None:
        """The shadow of a blocked job; None when its start is not in sight."""
        times_s = self.times_for(job, self.expected_s)
        expected_s = nth(times_s, usable, job.gpus)
        if expected_s == inf:
            return None
        ready = [i for i in usable if times_s[i] <= expected_s]
        # What comes free last is what it waits for; what is open now it needs least.
        ready.sort(key=lambda i: (-times_s[i], i))
        return Shadow(
            job=job,
            usable=usable,
            expected_s=expected_s,
            latest_s=nth(self.times_for(job, self.latest_s), usable, job.gpus),
            gpus=tuple(sorted(ready[: job.gpus])),
        )

    def delays(self, job: JobView, positions: tuple[int, ...]) -> bool:
        """
        Whether the shadow's gang would start later if the job went onto these GPUs now.

        Going by estimates in any case; by time limits for a job that has one.
        """
        shadow = self.shadow
        if shadow is None:
            return False
        likely_s = self.likely_s(job)
        if likely_s > shadow.expected_s and (
            self._start_s(self.expected_s, positions, likely_s) > shadow.expected_s
        ):
            return True
        limit_s = job.limit_s
        return (
            limit_s is not None
            and limit_s > shadow.latest_s
            and self._start_s(self.latest_s, positions, limit_s) > shadow.latest_s
        )

    def times_for(self, job: JobView, times_s: list[float]) -> list[float]:
        """The times as this job finds them: GPUs reserved for others come free after that."""
        if not self.snapshot.reservations:
            return times_s
        bound_s = self.bound_s(job)
        return [self._past_reservations(job, i, at_s, bound_s) for i, at_s in enumerate(times_s)]

    def room_times_s(self, job: JobView) -> list[float]:
        """`expected_s`, sooner on cards in shares: when enough of those have ended for this one."""
        need = job.gpu_memory_bytes or 0
        times_s = self.expected_s.copy()
        for i, gpu in enumerate(self.gpus):
            if not self.parts[i] or gpu.lease is not None or gpu.unavailable is not None:
                continue
            left = gpu.memory_total_bytes - sum(size for _, size in self.parts[i])
            times_s[i] = 0.0
            for end_s, size in sorted(self.parts[i]):
                if left >= need:
                    break
                left += size
                times_s[i] = end_s
        return times_s

    def kept_from(self, job: JobView, position: int) -> ReservationView | None:
        """The reservation for others that the job would run into if it started there now."""
        uuid = self.gpus[position].uuid
        for reservation in self.snapshot.reservations:
            if uuid not in reservation.gpu_uuids or reservation.admits(job.user, job.group):
                continue
            start_s, end_s = self._window_s(reservation)
            if end_s > 0.0 and start_s < self.bound_s(job):
                return reservation
        return None

    def own_reservation(self, job: JobView, position: int) -> bool:
        """Whether the GPU is set aside for this job's user or group now."""
        uuid = self.gpus[position].uuid
        return any(
            uuid in reservation.gpu_uuids
            and reservation.admits(job.user, job.group)
            and reservation.starts_at <= self.snapshot.now < reservation.ends_at
            for reservation in self.snapshot.reservations
        )

    def after(self, seconds: float) -> timedelta:
        """Seconds as a timedelta, at most a century."""
        return timedelta(seconds=min(seconds, 3.15e9))

    def remaining_s(self, run: RunningView) -> tuple[float, float]:
        """How long an attempt still runs: as expected, and at most."""
        if run.stopping:
            return ENDING_S, ENDING_S
        elapsed_s = 0.0
        if run.started_at is not None:
            elapsed_s = max(0.0, (self.snapshot.now - run.started_at).total_seconds())
        if run.time_limit is not None:
            latest_s = max(ENDING_S, run.time_limit.total_seconds() - elapsed_s)
        else:
            latest_s = max(self.assumed_s - elapsed_s, elapsed_s / 2)
        quantile = self.settings.shadow_quantile
        if quantile is None or run.estimate is None:
            return latest_s, latest_s
        length_s = run.estimate.quantile_s(quantile, elapsed_s=elapsed_s)
        return min(latest_s, max(ENDING_S, length_s - elapsed_s)), latest_s

    def _start_s(self, times_s: list[float], positions: tuple[int, ...], end_s: float) -> float:
        """When the shadow's gang starts if these GPUs are busy until `end_s`."""
        shadow = self.shadow
        assert shadow is not None
        changed = times_s.copy()
        for i in positions:
            changed[i] = max(changed[i], end_s)
        return nth(self.times_for(shadow.job, changed), shadow.usable, shadow.job.gpus)

    def _put(self, run: RunningView) -> None:
        expected_s, latest_s = self.remaining_s(run)
        for uuid in run.gpu_uuids:
            i = self.positions.get(uuid)
            if i is not None:
                self.expected_s[i] = max(self.expected_s[i], expected_s)
                self.latest_s[i] = max(self.latest_s[i], latest_s)
                if run.memory_bytes is not None:
                    self.parts[i].append((expected_s, run.memory_bytes))

    def _mark(self, i: int, gpu: GpuView) -> None:
        """Whatever the views of attempts say: a leased or unavailable GPU is not open."""
        at_s = ENDING_S if gpu.lease is not None or gpu.shares else 0.0
        reason = gpu.unavailable
        if reason is not None:
            if reason.until is not None:
                at_s = max(1.0, (reason.until - self.snapshot.now).total_seconds())
            elif reason.kind == "leftover":
                at_s = self.settings.leftover_clears.total_seconds()
            else:
                at_s = inf
        self.expected_s[i] = max(self.expected_s[i], at_s)
        self.latest_s[i] = max(self.latest_s[i], at_s)

    def _past_reservations(self, job: JobView, i: int, at_s: float, bound_s: float) -> float:
        uuid = self.gpus[i].uuid
        windows = sorted(
            self._window_s(reservation)
            for reservation in self.snapshot.reservations
            if uuid in reservation.gpu_uuids and not reservation.admits(job.user, job.group)
        )
        for start_s, end_s in windows:
            if at_s < end_s and start_s < at_s + bound_s:
                at_s = end_s
        return at_s

    def _window_s(self, reservation: ReservationView) -> tuple[float, float]:
        now = self.snapshot.now
        return (
            (reservation.starts_at - now).total_seconds(),
            (reservation.ends_at - now).total_seconds(),
        )


def nth(times_s: list[float], positions: tuple[int, ...], n: int) -> float:
    """The time at which `n` of the GPUs at these positions are free; inf if never."""
    if n > len(positions):
        return inf
    return sorted([times_s[i] for i in positions])[n - 1] if n else 0.0


def _room(gpu: GpuView) -> int:
    """Memory left for more shares on a card that already holds some."""
    if not gpu.shares or gpu.lease is not None or gpu.unavailable is not None:
        return 0
    return gpu.memory_total_bytes - sum(share.memory_bytes or 0 for share in gpu.shares)
