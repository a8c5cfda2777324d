"""
Input (`Snapshot`) and output (`Plan`) of the scheduling core.

Times are aware datetimes, lengths are timedeltas; a field that ends in `_s` is in seconds as
a float, one that ends in `_bytes` in bytes. Everything is frozen. The views may be built once
and used for many snapshots: what is derived from them is cached on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from berth.protocol.dependencies import DependencyKind
from berth.protocol.message import Message
from berth.protocol.states import JobState
from berth_server.core.estimate import Estimate
from berth_server.core.progress.remaining import Remaining
from berth_server.core.settings import PolicySettings

UnavailableKind = Literal["outsider", "leftover", "unhealthy", "draining", "unknown"]
Confidence = Literal["certain", "likely", "guess", "unknown"]
Links = tuple[tuple[str, ...], ...]
"""Square matrix in index order, as `nvidia-smi topo -m` names links; empty when unknown."""


@dataclass(frozen=True, kw_only=True)
class LeaseView:
    """An attempt's hold on a GPU, or on a share of its memory."""

    job_id: int
    attempt: str
    """`42.1`."""
    user: str
    job_name: str = ""
    memory_bytes: int | None = None
    """The share of the GPU; None is the whole GPU."""


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Reason that nothing new may be placed on a GPU, leased or not."""

    kind: UnavailableKind
    message: Message
    """For people, without a full stop: "pid 4242 of bob (python train.py), outside the queue"."""
    until: datetime | None = None
    """Its end, if that is known (a drain with an end)."""


@dataclass(frozen=True, kw_only=True)
class GpuView:
    """One GPU as placement sees it."""

    uuid: str
    index: int
    memory_total_bytes: int
    numa_node: int | None = None
    node: str | None = None
    """On a cluster: its node; a job's GPUs are of one node."""
    lease: LeaseView | None = None
    """The unreleased lease of the whole GPU."""
    unavailable: Unavailable | None = None
    shares: tuple[LeaseView, ...] = ()
    """Unreleased leases of parts of the GPU; never together with `lease`."""


@dataclass(frozen=True, kw_only=True)
class DependencyView:
    """A job that must have ended first."""

    job_id: int
    state: JobState
    name: str = ""
    kind: DependencyKind = DependencyKind.AFTEROK
    """The end that is required of it."""


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A pending job. `held` is obeyed; `waiting` and `queued` are derived from the facts here."""

    id: int
    name: str
    user: str
    state: JobState
    gpus: int
    queued_at: datetime
    """Time of the submit; its age counts from here."""
    nodes: int = 1
    """On a cluster: how many nodes its GPUs are on, as many on each."""
    gpu_memory_bytes: int | None = None
    """Least memory of each GPU; with `share`, the part of the GPU it asks for."""
    priority: int = 0
    time_limit: timedelta | None = None
    preemptible: bool = False
    dependencies: tuple[DependencyView, ...] = ()
    not_before: datetime | None = None
    is_paused: bool = False
    """True if `not_before` ends the pause after a failed attempt."""
    group: str | None = None
    share: bool = False
    """Takes `gpu_memory_bytes` of one GPU beside others instead of the whole GPU."""
    estimate: Estimate | None = None
    """Run time, from history; None when nothing is known."""
    eligible_at: datetime | None = None
    """Time at which the last of its dependencies ended or its hold was released; the age cap counts
    from here. Default: `queued_at`."""
    ablation: str | None = None
    """Id of the ablation whose caps count for it."""

    @cached_property
    def since_ts(self) -> float:
        """Since when it could have started, as unix seconds."""
        return (self.eligible_at or self.queued_at).timestamp()

    @cached_property
    def limit_s(self) -> float | None:
        """`time_limit` in seconds."""
        return None if self.time_limit is None else self.time_limit.total_seconds()

    @cached_property
    def expected_s(self) -> float | None:
        """Expected run time in seconds, going by history; None without any."""
        if self.estimate is None:
            return None
        mean_s, limit_s = self.estimate.mean_s, self.limit_s
        return mean_s if limit_s is None else min(limit_s, mean_s)

    @cached_property
    def unconditional(self) -> bool:
        """True if it waits for GPUs and limits alone: no hold, no start time, no dependencies."""
        return self.state is not JobState.HELD and self.not_before is None and not self.dependencies


@dataclass(frozen=True, kw_only=True)
class RunningView:
    """An attempt that holds GPUs, or that holds none and runs (`gpu_uuids` empty)."""

    job_id: int
    attempt: str
    user: str
    name: str
    gpu_uuids: tuple[str, ...]
    started_at: datetime | None = None
    """Start of its first process; None while it starts."""
    time_limit: timedelta | None = None
    stopping: bool = False
    group: str | None = None
    priority: int = 0
    preemptible: bool = False
    saved_at: datetime | None = None
    """Time of its last checkpoint; work since then is lost when it is preempted."""
    estimate: Estimate | None = None
    memory_bytes: int | None = None
    """Its share of the GPU; None is whole GPUs."""
    part: float = 1.0
    """Part of the GPU that its share is; 1.0 for whole GPUs."""
    eligible_at: datetime | None = None
    """As its job's, which keeps its age when it is preempted; None is not known."""
    ablation: str | None = None
    """Id of the ablation that it counts for."""
    remaining: Remaining | None = None
    """Time that it still runs by its own progress, which counts before `estimate`; None while
    nothing tells."""

    @property
    def counted_gpus(self) -> float:
        """Number of GPUs that it counts for in limits, GPU-hours and lost work."""
        return len(self.gpu_uuids) * self.part


@dataclass(frozen=True, kw_only=True)
class AblationView:
    """Limits on the jobs of one ablation together."""

    max_running: int | None = None
    """Most of its jobs at once."""
    budget_gpu_s: float | None = None
    """GPU-seconds after which nothing more of it starts."""
    used_gpu_s: float = 0.0
    """GPU-seconds that its attempts have had, those that run included."""


@dataclass(frozen=True, kw_only=True)
class ReservationView:
    """GPUs set aside from a time to a time for some users or groups."""

    id: int
    gpu_uuids: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    reason: str = ""
    members: frozenset[str] = frozenset()
    """Users who belong to one of the groups, whichever group their limits count for."""

    def admits(self, user: str, group: str | None) -> bool:
        """True if a job of this user and group may use the GPUs meanwhile."""
        if user in self.users or user in self.members:
            return True
        return group is not None and group in self.groups


@dataclass(frozen=True, kw_only=True)
class Usage:
    """GPU time that a user or group has used."""

    decayed_gpu_s: float = 0.0
    """GPU-seconds, decayed with `settings.USAGE_HALF_LIFE` up to the snapshot's `now`."""
    budget_gpu_s: float = 0.0
    """GPU-seconds since the budget's period began."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The whole box and queue at one moment."""

    now: datetime
    gpus: tuple[GpuView, ...]
    links: Links = ()
    queue: tuple[JobView, ...] = ()
    """Every pending job, held and waiting ones too."""
    running: tuple[RunningView, ...] = ()
    """Every attempt whose leases are not released."""
    worker_ok: bool = True
    """True if the worker reports; nothing starts without it."""
    reservations: tuple[ReservationView, ...] = ()
    user_usage: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    group_usage: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    sizes: Mapping[int, int] = field(default_factory=dict[int, int])
    """Number of the runs that ended recently for each number of GPUs."""
    ablations: Mapping[str, AblationView] = field(default_factory=dict[str, AblationView])
    """Those with caps that jobs of the queue belong to, by id."""

    @cached_property
    def pending(self) -> Mapping[int, JobView]:
        """`queue` by job id."""
        return {job.id: job for job in self.queue}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start this job on these GPUs, now. `gpu_uuids` is in index order, empty for no GPU."""

    job_id: int
    gpu_uuids: tuple[str, ...]
    memory_bytes: int | None = None
    """The share of the GPU to lease; None is whole GPUs."""
    among: tuple[str, ...] = ()
    """UUIDs of the GPUs that it could choose from, its own included."""
    reserved: bool = False
    """True if it looked only at GPUs that are set aside for it."""
    joins: bool = False
    """True if it goes beside other jobs that share the GPU already."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """GPUs that a blocked job keeps: no job after it starts there unless gone by `at`."""

    job_id: int
    gpu_uuids: tuple[str, ...]
    at: datetime
    """Time at which it is expected to have all of them."""
    latest: datetime | None = None
    """Time at which it has them if every job runs to its time limit; None when that is not in sight."""


@dataclass(frozen=True, kw_only=True)
class Preemption:
    """Stop this attempt so that another job can start; it is requeued."""

    job_id: int
    attempt: str
    for_job_id: int
    lost_s: float
    """GPU-seconds of work since its last checkpoint."""


@dataclass(frozen=True, kw_only=True)
class ExpectedStart:
    """Expected start of a job."""

    at: datetime
    """Median."""
    late: datetime
    """Nine of ten such jobs have started by then; never before `at`."""
    confidence: Confidence
    gpu_uuids: tuple[str, ...] = ()
    """The GPUs that it should get, in index order; others may be free sooner."""
    ends_at: datetime | None = None
    """Time at which it should be off them again."""
    after: tuple[int, ...] = ()
    """The jobs whose ends give it the last of its GPUs, running or planned before it."""
    held_back: bool = False
    """A limit decides when it starts, not its GPUs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Actions to take now, and what they imply for those who wait."""

    starts: tuple[Start, ...] = ()
    order: tuple[int, ...] = ()
    """Ids of the jobs that may start (not held, nothing to wait for), next first; those in
    `starts` are among them."""
    aged: int = 0
    """Number of jobs at the head of `order` that are past the age cap."""
    expected: Mapping[int, ExpectedStart] = field(default_factory=dict[int, ExpectedStart])
    """Of the first jobs of `order` that do not start now; empty until `forecast` fills it."""
    claims: tuple[Claim, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    wake_at: datetime | None = None
    """Time of the next plan even if nothing happens (a start time, a drain's end, …)."""
    settings: PolicySettings = field(default_factory=PolicySettings)
    """The settings it was made with, so that it can be explained."""

    @cached_property
    def started(self) -> Mapping[int, Start]:
        """`starts` by job id."""
        return {start.job_id: start for start in self.starts}

    @cached_property
    def positions(self) -> Mapping[int, int]:
        """Place in the queue, from 1, of each job of `order` that does not start now."""
        waiting = (job_id for job_id in self.order if job_id not in self.started)
        return {job_id: place for place, job_id in enumerate(waiting, 1)}
