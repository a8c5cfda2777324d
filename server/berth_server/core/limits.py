"""Limits of users, groups and ablations, and the limit that a job would exceed."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, fields, replace
from datetime import datetime
from math import inf
from operator import itemgetter
from typing import Literal

from berth_server.core.availability import AvailabilityProfile
from berth_server.core.calendar import in_force
from berth_server.core.gpu_share import wanted
from berth_server.core.model import AblationView, JobView, RunningView, Snapshot, Usage
from berth_server.core.settings import CalendarRule, Limits, PolicySettings

Resource = Literal["running_gpus", "running_jobs", "queued_jobs", "gpu_hours"]
_ROUNDING = 1e-6
"""Parts of GPUs do not add up to whole ones exactly."""


@dataclass(frozen=True, kw_only=True)
class LimitExceeded:
    """A limit that a job would exceed."""

    whose: str
    """A user's or group's name."""
    group: bool
    """True if `whose` is a group."""
    resource: Resource
    limit: float
    used: float
    """Their use without the job."""
    rule: str = ""
    """The calendar rule that sets the limit, if one does."""
    ablation: bool = False
    """True if `whose` is an ablation, whose own caps these are."""
    blocked_for: int | None = None
    """A job ahead, counted in `used` already, that would meet the limit if this one started."""


class LimitUsage:
    """Usage of every user and group, counted up as a plan starts jobs."""

    def __init__(self, snapshot: Snapshot, settings: PolicySettings) -> None:
        self.snapshot = snapshot
        self.settings = settings
        self.rules = in_force(settings.calendar, snapshot.now, settings.zone)
        self.anything = (
            any(_is_set(limits) for limits in (settings.user_limits, settings.group_limits))
            or bool(settings.limits_by_user or settings.limits_by_group)
            or bool(self.rules)
        )
        self.gpus: defaultdict[tuple[bool, str], float] = defaultdict(float)
        self.jobs: Counter[tuple[bool, str]] = Counter()
        self.cells = Counter(run.ablation for run in snapshot.running if run.ablation)
        if self.anything:
            for run in snapshot.running:
                self._count(run.user, run.group, run.counted_gpus)

    def add(self, job: JobView) -> None:
        """Count a job that starts."""
        self.change(job, 1)

    def clear(self) -> None:
        """Forget who runs."""
        self.gpus.clear()
        self.jobs.clear()
        self.cells.clear()

    def change(self, job: JobView | RunningView, by: int) -> None:
        """Count a job in (1) or out (-1)."""
        if job.ablation is not None:
            self.cells[job.ablation] += by
        if self.anything:
            self._count(job.user, job.group, self.counted(job), by)

    def counted(self, job: JobView | RunningView) -> float:
        """Number of GPUs that it counts for."""
        if isinstance(job, RunningView):
            return job.counted_gpus
        return wanted(job, self.snapshot.gpus)

    def exceeded(self, job: JobView) -> LimitExceeded | None:
        """The limit that starting the job would exceed; its ablation's first, then the user's."""
        if job.ablation is not None:
            exceeded = self._ablation_exceeded(job, job.ablation)
            if exceeded is not None:
                return exceeded
        if not self.anything:
            return None
        for group, name in _owners(job.user, job.group):
            limits, rule = effective(self.settings, self.rules, name, group=group)
            exceeded = self._exceeded(job, limits, group=group, name=name)
            if exceeded is not None:
                return replace(exceeded, rule=rule)
        return None

    def would_block(self, job: JobView, profile: AvailabilityProfile) -> LimitExceeded | None:
        """
        The limit at which the job would keep the shadow's, if it started now.

        Both may belong to one user, group or ablation: what the first is promised includes its
        place within the limits, also meanwhile, since a job at a limit claims no GPUs.
        """
        shadow = profile.shadow
        if shadow is None or not _together(job, shadow.job):
            return None
        self.change(shadow.job, 1)
        exceeded = self.exceeded(job)
        self.change(shadow.job, -1)
        return None if exceeded is None else replace(exceeded, blocked_for=shadow.job.id)

    def _ablation_exceeded(self, job: JobView, name: str) -> LimitExceeded | None:
        caps = self.snapshot.ablations.get(name)
        if caps is None:
            return None
        if job.gpus and is_spent(caps):
            return LimitExceeded(
                whose=name,
                group=False,
                ablation=True,
                resource="gpu_hours",
                limit=(caps.budget_gpu_s or 0.0) / 3600.0,
                used=caps.used_gpu_s / 3600.0,
            )
        if caps.max_running is not None and self.cells[name] >= caps.max_running:
            return LimitExceeded(
                whose=name,
                group=False,
                ablation=True,
                resource="running_jobs",
                limit=caps.max_running,
                used=self.cells[name],
            )
        return None

    def _exceeded(
        self, job: JobView, limits: Limits, *, group: bool, name: str
    ) -> LimitExceeded | None:
        key = (group, name)
        usage = self.snapshot.group_usage if group else self.snapshot.user_usage
        hours = usage.get(name, Usage()).budget_gpu_s / 3600.0
        most = limits.running_gpus
        if most is not None and self.gpus[key] + self.counted(job) > most + _ROUNDING and job.gpus:
            return LimitExceeded(
                whose=name, group=group, resource="running_gpus", limit=most, used=self.gpus[key]
            )
        most = limits.running_jobs
        if most is not None and self.jobs[key] + 1 > most:
            return LimitExceeded(
                whose=name, group=group, resource="running_jobs", limit=most, used=self.jobs[key]
            )
        budget = limits.gpu_hours
        if budget is not None and job.gpus and hours >= budget:
            return LimitExceeded(
                whose=name, group=group, resource="gpu_hours", limit=budget, used=hours
            )
        return None

    def _count(self, user: str, group: str | None, gpus: float, by: int = 1) -> None:
        for key in _owners(user, group):
            self.gpus[key] += gpus * by
            self.jobs[key] += by


def _together(a: JobView, b: JobView) -> bool:
    """True if some limit may count both."""
    return (
        a.user == b.user
        or (a.group is not None and a.group == b.group)
        or (a.ablation is not None and a.ablation == b.ablation)
    )


def is_spent(caps: AblationView) -> bool:
    """True if an ablation has had all of its GPU-hours."""
    return caps.budget_gpu_s is not None and caps.used_gpu_s >= caps.budget_gpu_s


class LimitForecast:
    """Times at which limits let jobs start, as those that count against them come and go."""

    def __init__(self, snapshot: Snapshot, settings: PolicySettings) -> None:
        """Nobody runs yet: `add` tells who does, and who will."""
        self._usage = LimitUsage(snapshot, settings)
        self._spans: list[tuple[float, float, JobView | RunningView]] = []

    def add(self, job: JobView | RunningView, begin_s: float, end_s: float) -> None:
        """Count a job between two moments, in seconds from the snapshot's `now`."""
        if self._usage.anything or job.ablation is not None:
            self._spans.append((begin_s, end_s, job))

    def at_s(self, job: JobView, from_s: float) -> float:
        """
        The first moment, not before `from_s`, at which the limits in force now let the job
        start; inf if that is not in sight.
        """
        usage_now = self._usage
        if from_s == inf or not (usage_now.anything or job.ablation is not None):
            return from_s
        usage_now.clear()
        changes: list[tuple[float, int, JobView | RunningView]] = []
        for begin_s, end_s, other in self._spans:
            if end_s <= from_s:
                continue
            if begin_s <= from_s:
                usage_now.change(other, 1)
            else:
                changes.append((begin_s, 1, other))
            changes.append((end_s, -1, other))
        changes.sort(key=itemgetter(0))
        at_s = from_s
        for moment_s, by, other in changes:
            # What comes and goes at the same moment is all counted by then.
            if moment_s > at_s and usage_now.exceeded(job) is None:
                return at_s
            usage_now.change(other, by)
            at_s = moment_s
        return at_s if usage_now.exceeded(job) is None else inf


def submit_exceeds(
    settings: PolicySettings, now: datetime, user: str, group: str | None, pending: int, new: int
) -> LimitExceeded | None:
    """True if `new` more jobs beside `pending` ones would exceed the user's `queued_jobs`."""
    rules = in_force(settings.calendar, now, settings.zone)
    for is_group, name in _owners(user, group)[:1]:
        limits, rule = effective(settings, rules, name, group=is_group)
        if limits.queued_jobs is not None and pending + new > limits.queued_jobs:
            return LimitExceeded(
                whose=name,
                group=is_group,
                resource="queued_jobs",
                limit=limits.queued_jobs,
                used=pending,
                rule=rule,
            )
    return None


def effective(
    settings: PolicySettings, rules: list[CalendarRule], name: str, *, group: bool
) -> tuple[Limits, str]:
    """A user's or group's limits now, and the names of the calendar rules that shaped them."""
    named = settings.limits_by_group if group else settings.limits_by_user
    limits = named.get(name) or (settings.group_limits if group else settings.user_limits)
    applied: list[str] = []
    for rule in rules:
        every_user = not (rule.users or rule.groups or group)
        if every_user or name in (rule.groups if group else rule.users):
            changed = {
                f.name: value
                for f in fields(Limits)
                if (value := getattr(rule.limits, f.name)) is not None
            }
            limits = replace(limits, **changed)
            applied.append(rule.name)
    return limits, ", ".join(applied)


def _owners(user: str, group: str | None) -> tuple[tuple[bool, str], ...]:
    return ((False, user),) if group is None else ((False, user), (True, group))


def _is_set(limits: Limits) -> bool:
    return any(getattr(limits, f.name) is not None for f in fields(Limits))
