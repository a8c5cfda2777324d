"""Observed state: the worker's last report, and what it means for each GPU."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from berth.protocol.gpus import BoxSnapshot, GpuProcess, GpuSnapshot
from berth.protocol.internal import WorkerReport
from berth.protocol.states import FenceKind
from berth_server.core.explain import gpu_status
from berth_server.core.model import GpuView, LeaseView, Unavailable
from berth_server.service.scheduling.cache import SchedulerCache
from berth_server.service.scheduling.views import moment
from berth_server.store.gpus import Drain

# Drivers keep some memory to themselves; more than this belongs to a process.
BUSY_BYTES = 1 << 30


@dataclass
class WorkerState:
    """The last report's facts; everything absent before the first."""

    reported_at: float | None = None
    worker_id: str | None = None
    boot_id: str | None = None
    version: str | None = None
    fence: FenceKind | None = None
    snapshot: BoxSnapshot | None = None
    by_uuid: dict[str, GpuSnapshot] = field(default_factory=dict)

    def take(self, report: WorkerReport, now: float) -> None:
        """Take in a report."""
        self.reported_at = now
        self.worker_id = report.worker_id
        self.boot_id = report.boot_id
        self.version = report.version
        self.fence = report.fence
        if report.snapshot is not None:
            self.snapshot = report.snapshot
            self.by_uuid = {gpu.uuid: gpu for gpu in report.snapshot.gpus}

    def fresh(self, now: float, stale_after_s: float) -> bool:
        """True if the worker reported lately, and what it saw is known."""
        return (
            self.snapshot is not None
            and self.reported_at is not None
            and now - self.reported_at <= stale_after_s
        )


@dataclass(slots=True, frozen=True)
class UnleasedProcesses:
    """Processes on a GPU without a lease of it."""

    outsiders: tuple[GpuProcess, ...] = ()
    leftovers: tuple[GpuProcess, ...] = ()
    unseen_bytes: int = 0
    """Memory in use by no visible process."""


def unleased_processes(
    gpu: GpuSnapshot, holders: Collection[LeaseView], released: Collection[str], *, confirmed: bool
) -> UnleasedProcesses:
    """
    Sort a GPU's processes into the holders' own and others.

    `released` are GPUs and attempts that were released after the snapshot was taken: what it
    shows of them is the past. `confirmed` says that the snapshot knows all processes.
    """
    own = {lease.attempt for lease in holders}
    outsiders: list[GpuProcess] = []
    leftovers: list[GpuProcess] = []
    for process in gpu.processes:
        if process.attempt is None:
            outsiders.append(process)
        elif process.attempt not in own and process.attempt not in released:
            leftovers.append(process)
    unseen = 0
    if confirmed and not holders and not gpu.processes and gpu.uuid not in released:
        used = gpu.memory_used_bytes or 0
        unseen = used if used > BUSY_BYTES else 0
    return UnleasedProcesses(tuple(outsiders), tuple(leftovers), unseen)


def unavailable(
    gpu: GpuSnapshot, others: UnleasedProcesses, drain: Drain | None
) -> Unavailable | None:
    """Reason that nothing new may be placed on a visible GPU; the gravest counts."""
    if not gpu.health.ok:
        return Unavailable(kind="unhealthy", message=gpu_status.unhealthy(gpu.health.problems))
    if gpu.mig:
        return Unavailable(kind="unhealthy", message=gpu_status.mig_mode())
    if others.outsiders:
        return Unavailable(kind="outsider", message=gpu_status.outsiders(others.outsiders))
    if others.leftovers:
        return Unavailable(kind="leftover", message=gpu_status.leftovers(others.leftovers))
    if others.unseen_bytes:
        return Unavailable(kind="outsider", message=gpu_status.unseen(others.unseen_bytes))
    if drain is not None:
        return Unavailable(
            kind="draining",
            message=gpu_status.drained(drain.actor, drain.reason),
            until=None if drain.until is None else moment(drain.until),
        )
    return None


def gpu_views(
    worker: WorkerState, cache: SchedulerCache, drains: Mapping[str, Drain], *, fresh: bool
) -> tuple[GpuView, ...]:
    """The GPUs as placement sees them, in index order."""
    if worker.snapshot is None:
        return ()
    views: list[GpuView] = []
    for gpu in worker.snapshot.gpus:
        if fresh:
            others = unleased_processes(
                gpu, cache.holders(gpu.uuid), cache.released, confirmed=True
            )
            reason = unavailable(gpu, others, drains.get(gpu.uuid))
        else:
            reason = Unavailable(kind="unknown", message=gpu_status.not_reported())
        views.append(
            GpuView(
                uuid=gpu.uuid,
                index=gpu.index,
                memory_total_bytes=gpu.memory_total_bytes,
                numa_node=gpu.numa_node,
                node=gpu.node,
                lease=cache.leases.get(gpu.uuid),
                unavailable=reason,
                shares=cache.shares.get(gpu.uuid, ()),
            )
        )
    return tuple(views)
