"""The box and its GPUs with their holders, as everybody is shown them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from berth.protocol.base import format_duration
from berth.protocol.gpus import Box, Gpu, GpuSnapshot, Holder
from berth.protocol.states import HolderKind
from berth_server.core.model import LeaseView
from berth_server.service.board import moment
from berth_server.service.errors import NotFound
from berth_server.service.sight import Strangers, strangers, unavailable

if TYPE_CHECKING:
    from berth_server.service.service import Service


def show_box(service: Service) -> Box:
    """The whole box."""
    now = service.clock()
    sight = service.sight
    stale = not sight.fresh(now, service.options.stale_after_s)
    seen = sight.snapshot
    shown = [_gpu(service, gpu, stale=stale) for gpu in seen.gpus] if seen else []
    return Box(
        hostname=socket.gethostname(),
        taken_at=seen.taken_at if seen else None,
        stale=stale,
        source=seen.source if seen else None,
        driver_version=seen.driver_version if seen else None,
        fence=sight.fence,
        gpus=shown,
        links=[list(row) for row in seen.links] if seen else [],
        sentence=_sentence(service, shown, stale=stale),
    )


def show_gpu(service: Service, uuid: str) -> Gpu:
    """One GPU. Raises NotFound while the worker has not shown it."""
    seen = service.sight.by_uuid.get(uuid)
    if seen is None:
        raise NotFound(f"The worker has not shown GPU {uuid} yet; start it with `berth up`.")
    stale = not service.sight.fresh(service.clock(), service.options.stale_after_s)
    return _gpu(service, seen, stale=stale)


def _gpu(service: Service, gpu: GpuSnapshot, *, stale: bool) -> Gpu:
    drain = service.drains.get(gpu.uuid)
    fields = {name: getattr(gpu, name) for name in GpuSnapshot.model_fields}
    return Gpu.model_construct(
        **fields,
        holder=_holder(service, gpu, stale=stale),
        draining=drain is not None,
        drain_reason=drain.reason if drain else None,
    )


def _holder(service: Service, gpu: GpuSnapshot, *, stale: bool) -> Holder:
    """Who is on a GPU. A lease stands over what is seen; strangers beside it have events."""
    lease = service.board.leases.get(gpu.uuid)
    others = strangers(gpu, lease, service.board.released, confirmed=True)
    if lease is not None:
        return _leased(service, gpu, lease, others)
    if stale:
        return Holder(kind=HolderKind.UNKNOWN, sentence="unknown: the worker does not report")
    reason = unavailable(gpu, others, None)
    if reason is None:
        return Holder(kind=HolderKind.FREE, sentence="free")
    processes = others.outsiders or others.leftovers
    first = processes[0] if processes else None
    return Holder(
        kind=HolderKind(reason.kind),
        user=first.user if first else None,
        attempt=first.attempt if first else None,
        since=first.started_at if first else None,
        pids=tuple(process.pid for process in processes),
        sentence=f"{reason.kind}: {reason.sentence.rstrip('.')}",
    )


def _leased(service: Service, gpu: GpuSnapshot, lease: LeaseView, others: Strangers) -> Holder:
    job_id, _, number = lease.attempt.partition(".")
    key = (int(job_id), int(number))
    record, run = service.board.alive[key], service.board.running[key]
    ended = record.state == "ended"
    until = None
    if run.started_at is not None and run.time_limit is not None and not ended:
        until = run.started_at + run.time_limit
    if ended:
        sentence = f"leftover: attempt {record.id} of {lease.user} has ended and is not gone yet"
    else:
        sentence = f"job {lease.job_id} of {lease.user} ({lease.job_name}), {record.state}"
    if others.outsiders:
        sentence += f"; beside it pid {others.outsiders[0].pid}, outside the queue"
    return Holder(
        kind=HolderKind.LEFTOVER if ended else HolderKind.JOB,
        job_id=lease.job_id,
        attempt=record.id,
        job_name=lease.job_name,
        user=lease.user,
        since=moment(record.created_at),
        until=until,
        pids=tuple(p.pid for p in gpu.processes if p.attempt == record.id),
        sentence=sentence,
    )


def _sentence(service: Service, gpus: list[Gpu], *, stale: bool) -> str:
    if not gpus:
        return "The worker has not reported yet; start it with `berth up`."
    if stale:
        return "The worker does not report, so nothing starts; see `berth status`."
    free = [g for g in gpus if g.holder.kind is HolderKind.FREE and not g.draining]
    text = f"{len(free)} of {len(gpus)} GPUs free"
    if free:
        return text
    ends = [g.holder.until for g in gpus if g.holder.until is not None]
    if not ends:
        return text
    left = max(min(ends) - moment(service.clock()), min(ends) - min(ends))
    minutes = round(left.total_seconds() / 60) * 60
    about = format_duration(type(left)(seconds=minutes)) if minutes else "less than a minute"
    return f"{text}, next free GPU in {'about ' if minutes else ''}{about} at the latest"
