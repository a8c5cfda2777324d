"""GPU map: the box and its GPUs with their holders, as REST shows them."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from berth.protocol.gpus import Box, Gpu, GpuSnapshot, Holder
from berth.protocol.message import Message
from berth.protocol.states import HolderKind
from berth_server.core.explain import gpu_status
from berth_server.core.explain.phrases import code
from berth_server.core.model import LeaseView
from berth_server.service.errors import NotFound
from berth_server.service.gpus.reservations import on_gpu
from berth_server.service.gpus.shares import used_bytes
from berth_server.service.gpus.worker_state import (
    UnleasedProcesses,
    unavailable,
    unleased_processes,
)
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState


def show_box(server: ServerState) -> Box:
    """The whole box."""
    now = server.clock()
    worker = server.worker_state
    stale = not worker.fresh(now, server.options.stale_after_s)
    seen = worker.snapshot
    shown = [_gpu(server, gpu, stale=stale) for gpu in seen.gpus] if seen else []
    summary = _summary(server, shown, stale=stale)
    return Box(
        hostname=socket.gethostname(),
        taken_at=seen.taken_at if seen else None,
        stale=stale,
        source=seen.source if seen else None,
        driver_version=seen.driver_version if seen else None,
        fence=worker.fence,
        gpus=shown,
        links=[list(row) for row in seen.links] if seen else [],
        sentence=str(summary),
        sentence_parts=summary,
    )


def show_gpu(server: ServerState, uuid: str) -> Gpu:
    """One GPU. Raises NotFound while the worker has not shown it."""
    seen = server.worker_state.by_uuid.get(uuid)
    if seen is None:
        unknown = f"The worker has not shown GPU {uuid} yet; start it with "
        raise NotFound(Message.of(unknown, code("berth up"), "."))
    stale = not server.worker_state.fresh(server.clock(), server.options.stale_after_s)
    return _gpu(server, seen, stale=stale)


def _gpu(server: ServerState, gpu: GpuSnapshot, *, stale: bool) -> Gpu:
    drain = server.drains.get(gpu.uuid)
    fields = {name: getattr(gpu, name) for name in GpuSnapshot.model_fields}
    leases = server.cache.holders(gpu.uuid)
    others = unleased_processes(gpu, leases, server.cache.released, confirmed=True)
    holders = [_leased(server, gpu, lease) for lease in leases]
    holders.sort(key=lambda holder: (holder.since, holder.job_id))
    holder = _first(gpu, holders, others) if holders else _unleased(gpu, others, stale=stale)
    if not holders and holder.kind is not HolderKind.FREE:
        holders = [holder]
    shares = server.cache.shares.get(gpu.uuid)
    return Gpu.model_construct(
        **fields,
        holder=holder,
        holders=holders,
        memory_leased_bytes=sum(s.memory_bytes or 0 for s in shares) if shares else None,
        draining=drain is not None,
        drain_reason=drain.reason if drain else None,
        drain_until=moment(drain.until) if drain and drain.until is not None else None,
        reservations=on_gpu(server, gpu.uuid),
    )


def _first(gpu: GpuSnapshot, holders: list[Holder], others: UnleasedProcesses) -> Holder:
    """The oldest holder, with a sentence of all; the outsiders beside them have events."""
    shared = holders[0].memory_bytes is not None
    leased = sum(holder.memory_bytes or 0 for holder in holders)
    message = gpu_status.all_holders(
        [holder.sentence_parts for holder in holders],
        left_bytes=gpu.memory_total_bytes - leased if shared else None,
        outsider=others.outsiders[0] if others.outsiders else None,
    )
    return holders[0].model_copy(update={"sentence": str(message), "sentence_parts": message})


def _unleased(gpu: GpuSnapshot, others: UnleasedProcesses, *, stale: bool) -> Holder:
    """The holder of a GPU without a lease."""
    if stale:
        return _holder(HolderKind.UNKNOWN, gpu_status.unknown())
    reason = unavailable(gpu, others, None)
    if reason is None:
        return _holder(HolderKind.FREE, gpu_status.free())
    processes = others.outsiders or others.leftovers
    first = processes[0] if processes else None
    holder = _holder(HolderKind(reason.kind), gpu_status.blocked(reason))
    return holder.model_copy(
        update={
            "user": first.user if first else None,
            "attempt": first.attempt if first else None,
            "since": first.started_at if first else None,
            "pids": tuple(process.pid for process in processes),
        }
    )


def _holder(kind: HolderKind, message: Message) -> Holder:
    return Holder(kind=kind, sentence=str(message), sentence_parts=message)


def _leased(server: ServerState, gpu: GpuSnapshot, lease: LeaseView) -> Holder:
    job_id, _, number = lease.attempt.partition(".")
    key = (int(job_id), int(number))
    record, run = server.cache.alive[key], server.cache.running[key]
    ended = record.state == "ended"
    until = None
    if run.started_at is not None and run.time_limit is not None and not ended:
        until = run.started_at + run.time_limit
    message = gpu_status.leased(lease, record.state)
    return Holder(
        kind=HolderKind.LEFTOVER if ended else HolderKind.JOB,
        job_id=lease.job_id,
        attempt=record.id,
        job_name=lease.job_name,
        user=lease.user,
        since=moment(record.created_at),
        until=until,
        progress=None if ended else server.progress.shown(key, server.clock()),
        pids=tuple(p.pid for p in gpu.processes if p.attempt == record.id),
        memory_bytes=lease.memory_bytes,
        memory_used_bytes=used_bytes(gpu, record.id),
        sentence=str(message),
        sentence_parts=message,
    )


def _all_gone(gpu: Gpu, now: datetime) -> tuple[datetime, bool] | None:
    """
    Time at which the last holder ends by progress or time limit; None when one has neither.

    And whether that is an estimate.
    """
    ends = [_end(holder, now) for holder in gpu.holders]
    known = [end for end in ends if end is not None]
    return max(known, default=None) if len(known) == len(ends) else None


def _end(holder: Holder, now: datetime) -> tuple[datetime, bool] | None:
    left_s = holder.progress.seconds_left if holder.progress is not None else None
    if left_s is not None:
        at = now + timedelta(seconds=left_s)
        if holder.until is None or at < holder.until:
            return at, True
    return None if holder.until is None else (holder.until, False)


def _summary(server: ServerState, gpus: list[Gpu], *, stale: bool) -> Message:
    if not gpus:
        return gpu_status.no_report_yet()
    if stale:
        return gpu_status.stale_box()
    free = sum(gpu.holder.kind is HolderKind.FREE and not gpu.draining for gpu in gpus)
    now = moment(server.clock())
    ends = [end for gpu in gpus if (end := _all_gone(gpu, now)) is not None]
    if not ends:
        return gpu_status.free_gpus(free, len(gpus), None)
    at, estimated = min(ends)
    return gpu_status.free_gpus(free, len(gpus), at - now, estimated=estimated)
