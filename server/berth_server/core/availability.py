"""Availability profile: when each GPU comes free, as one plan fills the box."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf

from berth_server.core.model import GpuView, JobView, ReservationView, RunningView, Snapshot
from berth_server.core.remaining_time import ENDING_S, remaining_at_s
from berth_server.core.settings import LEFTOVER_CLEARS, PolicySettings

_MEDIAN, _SURE = 0.5, 0.9


@dataclass(frozen=True, slots=True)
class GpuShare:
    """A share on a GPU. Times are seconds from the snapshot's `now`."""

    attempt: str
    """Empty for a job that this plan starts."""
    size: int
    """Bytes."""
    expected_s: float
    """Expected end, going by estimates."""
    latest_s: float
    """End by its time limit."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A job that is put onto GPUs to see what comes of it."""

    job: JobView
    positions: tuple[int, ...]
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """The claim of a blocked gang. Times are seconds from the snapshot's `now`."""

    job: JobView
    usable: tuple[int, ...]
    """Positions of the GPUs that are big enough for it."""
    expected_s: float
    """Time at which it should have its GPUs, going by estimates."""
    latest_s: float
    """Time at which it has them if every job runs to its time limit."""
    gpus: tuple[int, ...]
    """Positions of those that it gets first."""


class AvailabilityProfile:
    """
    The GPUs in two futures: `expected_s` by estimates, `latest_s` by time limits.

    Each tells per GPU, in seconds from the snapshot's `now`, when it comes free: 0.0 is open
    this moment, inf is not in sight. `free_bytes` is the memory that is left on GPUs in shares.
    """

    def __init__(
        self, snapshot: Snapshot, settings: PolicySettings, *, exact: bool = False
    ) -> None:
        """
        Take the present box. The more of the GPUs in use are held by jobs that tell how far they are,
        the closer its ends are to the median and the surer a job that backfills has to be; `exact`
        leaves the quantiles as they are set.
        """
        self.snapshot = snapshot
        self.settings = settings
        self.gpus = snapshot.gpus
        self.positions = {gpu.uuid: i for i, gpu in enumerate(snapshot.gpus)}
        self.everywhere = tuple(range(len(self.gpus)))
        self.nodes = _nodes(snapshot.gpus)
        self.least_bytes = min((gpu.memory_total_bytes for gpu in self.gpus), default=0)
        self.assumed_s = settings.assumed_length.total_seconds()
        self.expected_s = [0.0] * len(self.gpus)
        self.latest_s = [0.0] * len(self.gpus)
        self.gpu_shares: list[list[GpuShare]] = [[] for _ in self.gpus]
        """The shares on each GPU."""
        self.told = 0.0 if exact else _told(snapshot)
        """Part of the GPUs in use whose jobs tell how far they are."""
        self.shadow_quantile = self._toward(settings.shadow_quantile, _MEDIAN)
        self.backfill_quantile = self._toward(settings.backfill_quantile, _SURE)
        for run in snapshot.running:
            self._put(run)
        for i, gpu in enumerate(self.gpus):
            self._mark(i, gpu)
        self.open = [at == 0.0 for at in self.expected_s]
        self.free_bytes = [_free_bytes(gpu) for gpu in self.gpus]
        self.shadow: Shadow | None = None
        self.blocked_until_s = [(0.0, 0.0)] * len(self.gpus)
        """Until when jobs past the age cap keep each GPU: as expected, and at the latest."""

    def usable(self, job: JobView) -> tuple[int, ...]:
        """Positions of the GPUs that are big enough for the job, free or not."""
        least = job.gpu_memory_bytes or 0
        if least <= self.least_bytes:
            return self.everywhere
        return tuple(i for i, gpu in enumerate(self.gpus) if gpu.memory_total_bytes >= least)

    def ready_s(self, times_s: list[float], usable: tuple[int, ...], job: JobView) -> float:
        """The time at which there are usable GPUs for the job, on its nodes; inf if never."""
        if len(self.nodes) < 2 or not job.gpus:
            return nth(times_s, usable, job.gpus)
        each = job.gpus // job.nodes
        on_node_s = sorted(nth(times_s, on_node, each) for on_node in self.on_nodes(usable))
        return on_node_s[job.nodes - 1] if job.nodes <= len(on_node_s) else inf

    def ready_by(
        self, at_s: float, times_s: list[float], usable: tuple[int, ...], job: JobView
    ) -> list[int]:
        """Positions of the GPUs that the job gets by then: what comes free last, first."""
        each = job.gpus // job.nodes
        found: list[int] = []
        for on_node in self.on_nodes(usable):
            ready = [i for i in on_node if times_s[i] <= at_s]
            if len(ready) >= each and len(found) < job.gpus:
                # What comes free last is what it waits for; what is open now it needs least.
                found += sorted(ready, key=lambda i: (-times_s[i], i))[:each]
        return found

    def on_nodes(self, positions: Collection[int]) -> list[tuple[int, ...]]:
        """The positions, node by node; all together on a box."""
        if len(self.nodes) < 2:
            return [tuple(positions)]
        chosen = set(positions)
        return [tuple(i for i in node if i in chosen) for node in self.nodes]

    def bound_s(self, job: JobView) -> float:
        """The longest that the job may hold its GPUs."""
        return self.assumed_s if job.limit_s is None else job.limit_s

    def likely_s(self, job: JobView) -> float:
        """By when the job is off its GPUs, going by the `backfill_quantile` of its estimate."""
        return self._gone_s(job, self.settings.backfill_quantile)

    def _gone_s(self, job: JobView, quantile: float | None) -> float:
        """Seconds within which the job has left its GPUs, by this quantile of its estimate."""
        if job.estimate is None or quantile is None:
            return self.bound_s(job)
        length_s = job.estimate.quantile_s(quantile)
        return length_s if job.limit_s is None else min(length_s, job.limit_s)

    def occupy(self, job: JobView, positions: tuple[int, ...]) -> None:
        """Put a job that starts now onto GPUs."""
        likely_s, bound_s = self.likely_s(job), self.bound_s(job)
        for i in positions:
            if job.share:
                left = self.gpus[i].memory_total_bytes if self.open[i] else self.free_bytes[i]
                size = job.gpu_memory_bytes or left
                self.free_bytes[i] = left - size
                self.gpu_shares[i].append(GpuShare("", size, likely_s, bound_s))
            self.open[i] = False
            self.expected_s[i] = max(self.expected_s[i], likely_s)
            self.latest_s[i] = max(self.latest_s[i], bound_s)

    def close(self, shadow: Shadow) -> None:
        """Let no job start on the GPUs that the shadow's job could use before it has."""
        ends_s = (
            shadow.expected_s + self.likely_s(shadow.job),
            shadow.latest_s + self.bound_s(shadow.job),
        )
        for i in shadow.usable:
            self.open[i] = False
            self.free_bytes[i] = 0
            kept_s = ends_s if i in shadow.gpus else (shadow.expected_s, shadow.latest_s)
            self.blocked_until_s[i] = (
                max(self.blocked_until_s[i][0], kept_s[0]),
                max(self.blocked_until_s[i][1], kept_s[1]),
            )

    def vacate(self, run: RunningView) -> None:
        """Take an attempt to end shortly, because it is going to be stopped."""
        for uuid in run.gpu_uuids:
            i = self.positions.get(uuid)
            if i is None or self.gpus[i].unavailable is not None:
                continue
            self.gpu_shares[i] = [
                replace(one, expected_s=ENDING_S, latest_s=ENDING_S)
                if one.attempt == run.attempt
                else one
                for one in self.gpu_shares[i]
            ]
            # The neighbours on a shared GPU stay.
            self.expected_s[i] = max(
                (one.expected_s for one in self.gpu_shares[i]), default=ENDING_S
            )
            self.latest_s[i] = max((one.latest_s for one in self.gpu_shares[i]), default=ENDING_S)

    def shadow_of(self, job: JobView, usable: tuple[int, ...]) -> Shadow | None:
        """The shadow of a blocked job; None when its start is not in sight."""
        kept_s = self.blocked_until_s
        times_s = [
            max(at, kept) for at, (kept, _) in zip(self.available_at_s(job), kept_s, strict=True)
        ]
        late_s = self.available_at_s(job, latest=True)
        late_s = [max(at, kept) for at, (_, kept) in zip(late_s, kept_s, strict=True)]
        expected_s = self.ready_s(times_s, usable, job)
        if expected_s == inf:
            return None
        return Shadow(
            job=job,
            usable=usable,
            expected_s=expected_s,
            latest_s=self.ready_s(late_s, usable, job),
            gpus=tuple(sorted(self.ready_by(expected_s, times_s, usable, job))),
        )

    def delays(self, job: JobView, positions: tuple[int, ...]) -> bool:
        """
        True if the shadow's gang would start later if the job went onto these GPUs now.

        Going by estimates in any case; by time limits for a job that has one.
        """
        shadow = self.shadow
        if shadow is None:
            return False
        likely_s = self._gone_s(job, self.backfill_quantile)
        if likely_s > shadow.expected_s:
            trial = Trial(job, positions, likely_s)
            if self._start_s(shadow, trial, latest=False) > shadow.expected_s:
                return True
        limit_s = job.limit_s
        if limit_s is None or limit_s <= shadow.latest_s:
            return False
        trial = Trial(job, positions, limit_s)
        return self._start_s(shadow, trial, latest=True) > shadow.latest_s

    def available_at_s(
        self, job: JobView, *, latest: bool = False, trial: Trial | None = None
    ) -> list[float]:
        """
        Times at which each GPU, or room for its share there, is the job's: estimated, or by limits.

        GPUs that are reserved for others are its own after that. `trial` is another job that is
        there already.
        """
        times_s = (self.latest_s if latest else self.expected_s).copy()
        if trial is not None:
            for i in trial.positions:
                times_s[i] = max(times_s[i], trial.end_s)
        if job.share:
            for i in self.everywhere:
                times_s[i] = self._share_available_at_s(job, i, times_s[i], trial, latest=latest)
        if not self.snapshot.reservations:
            return times_s
        bound_s = self.bound_s(job)
        return [self._past_reservations(job, i, at_s, bound_s) for i, at_s in enumerate(times_s)]

    def reserved_for_others(self, job: JobView, position: int) -> ReservationView | None:
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
        """True if the GPU is set aside for this job's user or group now."""
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

    def _toward(self, quantile: float | None, target: float) -> float | None:
        return None if quantile is None else quantile + (target - quantile) * self.told

    def _start_s(self, shadow: Shadow, trial: Trial, *, latest: bool) -> float:
        """Start of the shadow's job if the trial's is where it was put."""
        times_s = self.available_at_s(shadow.job, latest=latest, trial=trial)
        return self.ready_s(times_s, shadow.usable, shadow.job)

    def _share_available_at_s(
        self, job: JobView, i: int, clear_s: float, trial: Trial | None, *, latest: bool
    ) -> float:
        """Time at which enough shares on a GPU have ended for this one; `clear_s`: all of them."""
        gpu = self.gpus[i]
        if not self.gpu_shares[i] or gpu.lease is not None or gpu.unavailable is not None:
            return clear_s
        parts = [
            (one.latest_s if latest else one.expected_s, one.size) for one in self.gpu_shares[i]
        ]
        if trial is not None and i in trial.positions:
            parts.append((trial.end_s, trial.job.gpu_memory_bytes or 0))
        left = gpu.memory_total_bytes - sum(size for _, size in parts)
        at_s = 0.0
        for end_s, size in sorted(parts):
            if left >= (job.gpu_memory_bytes or 0):
                break
            left += size
            at_s = end_s
        return at_s

    def _put(self, run: RunningView) -> None:
        quantile = self.shadow_quantile
        expected_s, latest_s = remaining_at_s(run, self.snapshot.now, self.settings, quantile)
        for uuid in run.gpu_uuids:
            i = self.positions.get(uuid)
            if i is not None:
                self.expected_s[i] = max(self.expected_s[i], expected_s)
                self.latest_s[i] = max(self.latest_s[i], latest_s)
                if run.memory_bytes is not None:
                    part = GpuShare(run.attempt, run.memory_bytes, expected_s, latest_s)
                    self.gpu_shares[i].append(part)

    def _mark(self, i: int, gpu: GpuView) -> None:
        """Close leased and unavailable GPUs, against the views of attempts if need be."""
        at_s = ENDING_S if gpu.lease is not None or gpu.shares else 0.0
        reason = gpu.unavailable
        if reason is not None:
            if reason.until is not None:
                at_s = max(1.0, (reason.until - self.snapshot.now).total_seconds())
            elif reason.kind == "leftover":
                at_s = LEFTOVER_CLEARS.total_seconds()
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


def _told(snapshot: Snapshot) -> float:
    held = sum(len(run.gpu_uuids) for run in snapshot.running)
    told = sum(len(run.gpu_uuids) for run in snapshot.running if run.remaining is not None)
    return told / held if told else 0.0


def _nodes(gpus: tuple[GpuView, ...]) -> tuple[tuple[int, ...], ...]:
    """Positions of the GPUs of each node, in order of their first GPU."""
    found: dict[str | None, list[int]] = {}
    for i, gpu in enumerate(gpus):
        found.setdefault(gpu.node, []).append(i)
    return tuple(map(tuple, found.values()))


def nth(times_s: list[float], positions: tuple[int, ...], n: int) -> float:
    """The time at which `n` of the GPUs at these positions are free; inf if never."""
    if n > len(positions):
        return inf
    return sorted([times_s[i] for i in positions])[n - 1] if n else 0.0


def _free_bytes(gpu: GpuView) -> int:
    """Memory left for more shares on a GPU that already holds some."""
    if not gpu.shares or gpu.lease is not None or gpu.unavailable is not None:
        return 0
    return gpu.memory_total_bytes - sum(share.memory_bytes or 0 for share in gpu.shares)
