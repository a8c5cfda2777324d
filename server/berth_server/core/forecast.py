"""Forecast: expected starts of the waiting jobs if no other job is submitted."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from math import hypot, inf

from berth_server.core.availability import AvailabilityProfile, GpuShare
from berth_server.core.limits import LimitForecast, is_spent
from berth_server.core.model import Confidence, ExpectedStart, JobView, Plan, Snapshot
from berth_server.core.policy import plan
from berth_server.core.remaining_time import ENDING_S, remaining_s
from berth_server.core.settings import PolicySettings

FORECAST_DEPTH = 100
"""Number of waiting jobs that get an expected start."""
_MEDIAN, _LATE = 0.5, 0.9


def plan_with_forecast(snapshot: Snapshot, settings: PolicySettings | None = None) -> Plan:
    """Return the plan with the expected starts, which cost more than the decision alone."""
    made = plan(snapshot, settings)
    return replace(made, expected=forecast(snapshot, made))


def forecast(
    snapshot: Snapshot, plan: Plan, depth: int = FORECAST_DEPTH
) -> dict[int, ExpectedStart]:
    """
    Expected starts of the first `depth` jobs that the plan does not start, in its order.

    Each job in turn gets the GPUs that come free first; one that a limit keeps gets its turn
    when the limit lets it, and leaves the GPUs to others until then. Jobs of one GPU that run as
    long as expected start at these moments exactly; of gangs it is an estimate, since who slips
    in meanwhile is not played through. A job whose start is not in sight (it waits for a GPU
    without a known end or for a limit that no end lifts, or its ablation has had its GPU-hours)
    is left out. `likely` rests on time limits and enough history alone; `guess` also on
    assumptions for jobs of which nothing is known.
    """
    if not snapshot.worker_ok:
        return {}
    timeline = _Timeline(snapshot, plan)
    spent = {name for name, caps in snapshot.ablations.items() if is_spent(caps)}
    waiting = [snapshot.pending[i] for i in plan.order if i not in plan.started]
    for job in waiting:
        if len(timeline.expected) + len(timeline.held_back) >= depth:
            break
        if not (job.gpus and job.ablation in spent):
            timeline.take(job)
    timeline.take_held_back(inf)
    return timeline.expected


class _Timeline:
    """The box from now on, filled with one job after the other."""

    def __init__(self, snapshot: Snapshot, plan: Plan) -> None:
        self.now = snapshot.now
        self.profile = _profile_after(snapshot, plan, _MEDIAN)
        self.late = _profile_after(snapshot, plan, _LATE)
        """The same with nine of ten ends before what it says: how unsure each end is."""
        self.spread_s = [
            max(0.0, late - at) if late < inf else 0.0
            for at, late in zip(self.profile.expected_s, self.late.expected_s, strict=True)
        ]
        """By GPU: from the median of when it comes free to what nine of ten keep."""
        self.limits = _limits_after(snapshot, plan, self.profile)
        runs = (run for run in snapshot.running if run.gpu_uuids)
        known = all(
            run.time_limit is not None or run.estimate is not None or run.remaining is not None
            for run in runs
        )
        known = known and all(_known(snapshot.pending[start.job_id]) for start in plan.starts)
        self.confidence: Confidence = "likely" if known else "guess"
        self.expected: dict[int, ExpectedStart] = {}
        self.held_back: list[tuple[float, int, JobView]] = []
        """Jobs that a limit keeps: until when, their turn, and they: a heap."""
        self.turn = 0
        self.last_on = _last_on(snapshot, plan, self.profile)
        """By GPU: the jobs that are on it last so far."""

    def take(self, job: JobView) -> None:
        """The next job in the order."""
        self.turn += 1
        free_s = self._free_s(job)
        while self.held_back and self.held_back[0][0] <= free_s < inf:
            self.take_held_back(free_s)
            free_s = self._free_s(job)
        at_s = self.limits.at_s(job, free_s)
        if at_s > free_s:
            heappush(self.held_back, (at_s, self.turn, job))
        else:
            self._put(job, at_s, held_back=False)

    def take_held_back(self, until_s: float) -> None:
        """Take the jobs whose limits let them start by then: they are before those that start then."""
        while self.held_back and self.held_back[0][0] <= until_s:
            held_until_s, turn, job = heappop(self.held_back)
            if held_until_s == inf:
                continue
            at_s = self.limits.at_s(job, max(held_until_s, self._free_s(job)))
            if at_s > held_until_s:
                heappush(self.held_back, (at_s, turn, job))
            else:
                self._put(job, at_s, held_back=True)

    def _free_s(self, job: JobView) -> float:
        """Time at which there are GPUs for it."""
        profile = self.profile
        return profile.ready_s(profile.available_at_s(job), profile.usable(job), job)

    def _put(self, job: JobView, at_s: float, *, held_back: bool) -> None:
        if at_s == inf:
            return
        profile = self.profile
        times_s = profile.available_at_s(job)
        # Those that are free by then and were not for long: the others serve who comes sooner.
        taken = profile.ready_by(at_s, times_s, profile.usable(job), job)
        # The last of its GPUs decides, and that may be one that is expected earlier.
        late_s = max((times_s[i] + self.spread_s[i] for i in taken), default=at_s)
        spread_s = max(0.0, late_s - at_s)
        length_s = profile.likely_s(job)
        end_s = at_s + length_s
        # Its start and its length are taken to be off independently.
        end_spread_s = hypot(spread_s, max(0.0, self.late.likely_s(job) - length_s))
        self.limits.add(job, at_s, end_s)
        after = {other for i in taken if times_s[i] == at_s > 0 for other in self.last_on[i]}
        for i in taken:
            self.spread_s[i] = end_spread_s
            self.last_on[i] = (*self.last_on[i], job.id) if job.share else (job.id,)
            profile.expected_s[i] = max(profile.expected_s[i], end_s) if job.share else end_s
            if job.share:
                profile.gpu_shares[i].append(GpuShare("", job.gpu_memory_bytes or 0, end_s, end_s))
        self.expected[job.id] = ExpectedStart(
            at=self.now + profile.after(at_s),
            late=self.now + profile.after(at_s + spread_s),
            confidence=self.confidence,
            gpu_uuids=tuple(profile.gpus[i].uuid for i in sorted(taken)),
            ends_at=self.now + profile.after(end_s),
            after=tuple(sorted(after)),
            held_back=held_back,
        )
        self.confidence = self.confidence if _known(job) else "guess"


def _last_on(snapshot: Snapshot, plan: Plan, profile: AvailabilityProfile) -> list[tuple[int, ...]]:
    """By position: the jobs on each GPU once the plan is carried out."""
    found: list[tuple[int, ...]] = [() for _ in snapshot.gpus]
    holders = [(run.job_id, run.gpu_uuids) for run in snapshot.running]
    holders += [(start.job_id, start.gpu_uuids) for start in plan.starts]
    for job_id, uuids in holders:
        for uuid in uuids:
            if uuid in profile.positions:
                found[profile.positions[uuid]] += (job_id,)
    return found


def _limits_after(snapshot: Snapshot, plan: Plan, profile: AvailabilityProfile) -> LimitForecast:
    """Holders that count against limits, and until when, once the plan is carried out."""
    limits = LimitForecast(snapshot, profile.settings)
    stopped = {preemption.attempt for preemption in plan.preemptions}
    for run in snapshot.running:
        left_s, _ = remaining_s(run, snapshot.now, profile.settings)
        end_s = ENDING_S if run.attempt in stopped else left_s
        limits.add(run, 0.0, end_s)
    for start in plan.starts:
        job = snapshot.pending[start.job_id]
        limits.add(job, 0.0, profile.likely_s(job))
    return limits


def _profile_after(snapshot: Snapshot, plan: Plan, quantile: float) -> AvailabilityProfile:
    """The profile once the plan is carried out, by a quantile of what is expected."""
    profile = AvailabilityProfile(snapshot, _at_quantile(plan.settings, quantile), exact=True)
    for start in plan.starts:
        positions = tuple(profile.positions[uuid] for uuid in start.gpu_uuids)
        profile.occupy(snapshot.pending[start.job_id], positions)
    stopped = {preemption.attempt for preemption in plan.preemptions}
    for run in snapshot.running:
        if run.attempt in stopped:
            profile.vacate(run)
    return profile


def _at_quantile(settings: PolicySettings, quantile: float) -> PolicySettings:
    """The settings with ends by this quantile, where they do not go by time limits alone."""
    shadow, backfill = settings.shadow_quantile, settings.backfill_quantile
    return replace(
        settings,
        shadow_quantile=None if shadow is None else quantile,
        backfill_quantile=None if backfill is None else quantile,
    )


def _known(job: JobView) -> bool:
    return job.limit_s is not None or job.estimate is not None
