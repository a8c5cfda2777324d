"""GPU map: the box and its GPUs with their holders, as REST shows them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from berth.protocol.gpus import Box, Gpu, GpuProcess, GpuSnapshot, Holder
from berth.protocol.message import Message
from berth.protocol.states import HolderKind
from berth_server.core.explain import gpu_status
from berth_server.core.explain.phrases import code
from berth_server.core.model import LeaseView, Unavailable
from berth_server.service.errors import NotFound
from berth_server.service.gpus.free import Free, free_for
from berth_server.service.gpus.reservations import on_gpu
from berth_server.service.gpus.shares import used_bytes
from berth_server.service.gpus.worker_state import (
    UnleasedProcesses,
    unavailable,
    unleased_processes,
)
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState


def show_box(server: ServerState, user: str | None = None) -> Box:
    """The whole box; `user`: what is free is said for the jobs of this user."""
    now = server.clock()
    worker = server.worker_state
    stale = not worker.fresh(now, server.options.stale_after_s)
    seen = worker.snapshot
    shown = [_gpu(server, gpu, stale=stale) for gpu in seen.gpus] if seen else []
    free = free_for(server, shown, user)
    summary = _summary(server, shown, free, stale=stale)
    return Box(
        hostname=socket.gethostname(),
        taken_at=seen.taken_at if seen else None,
        stale=stale,
        source=seen.source if seen else None,
        driver_version=seen.driver_version if seen else None,
        fence=worker.fence,
        gpus=shown,
        links=[list(row) for row in seen.links] if seen else [],
        free_indices=[] if stale else free.indices,
        reserved_indices=[] if stale else [i for i, _ in free.reserved],
        next_free=None if stale else free.next,
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
    blocked = None if stale else unavailable(gpu, others, None)
    shares = server.cache.shares.get(gpu.uuid)
    room = _room(gpu, shares, blocked=blocked is not None or drain is not None)
    holder = _first(holders, room, blocked) if holders else _unleased(gpu, others, stale=stale)
    if not holders and holder.kind is not HolderKind.FREE:
        holders = [holder]
    return Gpu.model_construct(
        **fields,
        holder=holder,
        holders=holders,
        beside=[_beside(process) for process in others.outsiders] if leases else [],
        memory_leased_bytes=sum(s.memory_bytes or 0 for s in shares) if shares else None,
        memory_to_share_bytes=room,
        blocked=None if blocked is None else str(blocked.message),
        blocked_parts=Message() if blocked is None else blocked.message,
        draining=drain is not None,
        drain_reason=drain.reason if drain else None,
        drain_until=moment(drain.until) if drain and drain.until is not None else None,
        reservations=on_gpu(server, gpu.uuid),
    )


def _room(gpu: GpuSnapshot, shares: Sequence[LeaseView] | None, *, blocked: bool) -> int | None:
    """Memory that more shares may get of a shared GPU; None for one that is not shared."""
    if not shares:
        return None
    left = gpu.memory_total_bytes - sum(share.memory_bytes or 0 for share in shares)
    return 0 if blocked else max(0, left)


def _first(holders: list[Holder], room: int | None, blocked: Unavailable | None) -> Holder:
    """The oldest holder, with a sentence of all, and of external processes beside them."""
    message = gpu_status.all_holders(
        [holder.sentence_parts for holder in holders],
        left_bytes=room,
        blocked=None if blocked is None else blocked.message,
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


def _beside(process: GpuProcess) -> Holder:
    """An external process on a GPU that a job leases."""
    message = gpu_status.outsiders((process,))
    return _holder(HolderKind.OUTSIDER, Message.of("external process: ", message)).model_copy(
        update={
            "user": process.user,
            "since": process.started_at,
            "pids": (process.pid,),
            "memory_used_bytes": process.memory_bytes,
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
    alerts = list(server.alerts.get(key, {}).values())
    return Holder(
        kind=HolderKind.LEFTOVER if ended else HolderKind.JOB,
        job_id=lease.job_id,
        attempt=record.id,
        job_name=lease.job_name,
        user=lease.user,
        since=moment(record.created_at),
        until=until,
        progress=None if ended else server.progress.shown(key, server.clock()),
        alerts=[str(alert) for alert in alerts],
        alerts_parts=alerts,
        pids=tuple(p.pid for p in gpu.processes if p.attempt == record.id),
        memory_bytes=lease.memory_bytes,
        memory_used_bytes=used_bytes(gpu, record.id),
        sentence=str(message),
        sentence_parts=message,
    )


def _summary(server: ServerState, gpus: list[Gpu], free: Free, *, stale: bool) -> Message:
    if not gpus:
        return gpu_status.no_report_yet()
    if stale:
        return gpu_status.stale_box()
    now, following = moment(server.clock()), free.next
    return gpu_status.free_gpus(
        len(free.indices),
        len(gpus),
        None if following is None else following.at - now,
        estimated=following is not None and following.estimated,
        late_in=None if following is None or following.late is None else following.late - now,
        reserved=free.reserved_for(),
    )
