"""The box and its GPUs with their holders, as everybody is shown them."""

from __future__ import annotations

import socket
from datetime import datetime

from berth.protocol.gpus import Box, Gpu, GpuSnapshot, Holder
from berth.protocol.states import HolderKind
from berth.units import format_duration
from berth_server.core.model import LeaseView
from berth_server.service.errors import NotFound
from berth_server.service.gpus.reservations import on_gpu
from berth_server.service.gpus.shares import used_bytes
from berth_server.service.gpus.worker_state import Strangers, gib, strangers, unavailable
from berth_server.service.scheduling.cache import moment
from berth_server.service.state import ServerState


def show_box(server: ServerState) -> Box:
    """The whole box."""
    now = server.clock()
    sight = server.worker_state
    stale = not sight.fresh(now, server.options.stale_after_s)
    seen = sight.snapshot
    shown = [_gpu(server, gpu, stale=stale) for gpu in seen.gpus] if seen else []
    return Box(
        hostname=socket.gethostname(),
        taken_at=seen.taken_at if seen else None,
        stale=stale,
        source=seen.source if seen else None,
        driver_version=seen.driver_version if seen else None,
        fence=sight.fence,
        gpus=shown,
        links=[list(row) for row in seen.links] if seen else [],
        sentence=_sentence(server, shown, stale=stale),
    )


def show_gpu(server: ServerState, uuid: str) -> Gpu:
    """One GPU. Raises NotFound while the worker has not shown it."""
    seen = server.worker_state.by_uuid.get(uuid)
    if seen is None:
        raise NotFound(f"The worker has not shown GPU {uuid} yet; start it with `berth up`.")
    stale = not server.worker_state.fresh(server.clock(), server.options.stale_after_s)
    return _gpu(server, seen, stale=stale)


def _gpu(server: ServerState, gpu: GpuSnapshot, *, stale: bool) -> Gpu:
    drain = server.drains.get(gpu.uuid)
    fields = {name: getattr(gpu, name) for name in GpuSnapshot.model_fields}
    leases = server.cache.holders(gpu.uuid)
    others = strangers(gpu, leases, server.cache.released, confirmed=True)
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


def _first(gpu: GpuSnapshot, holders: list[Holder], others: Strangers) -> Holder:
    """The oldest holder, with a sentence of all; strangers beside them have events."""
    sentence = holders[0].sentence
    if holders[0].memory_bytes is not None:
        leased = sum(holder.memory_bytes or 0 for holder in holders)
        told = "; ".join(holder.sentence for holder in holders)
        sentence = f"{told}; {gib(gpu.memory_total_bytes - leased)} of it to share"
    if others.outsiders:
        sentence += f"; beside it pid {others.outsiders[0].pid}, outside the queue"
    return holders[0].model_copy(update={"sentence": sentence})


def _unleased(gpu: GpuSnapshot, others: Strangers, *, stale: bool) -> Holder:
    """Who is on a GPU that nobody leases."""
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


def _leased(server: ServerState, gpu: GpuSnapshot, lease: LeaseView) -> Holder:
    job_id, _, number = lease.attempt.partition(".")
    key = (int(job_id), int(number))
    record, run = server.cache.alive[key], server.cache.running[key]
    ended = record.state == "ended"
    until = None
    if run.started_at is not None and run.time_limit is not None and not ended:
        until = run.started_at + run.time_limit
    if ended:
        sentence = f"leftover: attempt {record.id} of {lease.user} has ended and is not gone yet"
    else:
        sentence = f"job {lease.job_id} of {lease.user} ({lease.job_name}), {record.state}"
    if lease.memory_bytes is not None:
        sentence += f", {gib(lease.memory_bytes)} of the card"
    return Holder(
        kind=HolderKind.LEFTOVER if ended else HolderKind.JOB,
        job_id=lease.job_id,
        attempt=record.id,
        job_name=lease.job_name,
        user=lease.user,
        since=moment(record.created_at),
        until=until,
        pids=tuple(p.pid for p in gpu.processes if p.attempt == record.id),
        memory_bytes=lease.memory_bytes,
        memory_used_bytes=used_bytes(gpu, record.id),
        sentence=sentence,
    )


def _all_gone(gpu: Gpu) -> datetime | None:
    """When the last holder has reached its time limit; None when one has none."""
    ends = [holder.until for holder in gpu.holders]
    known = [at for at in ends if at is not None]
    return max(known, default=None) if len(known) == len(ends) else None


def _sentence(server: ServerState, gpus: list[Gpu], *, stale: bool) -> str:
    if not gpus:
        return "The worker has not reported yet; start it with `berth up`."
    if stale:
        return "The worker does not report, so nothing starts; see `berth status`."
    free = [g for g in gpus if g.holder.kind is HolderKind.FREE and not g.draining]
    text = f"{len(free)} of {len(gpus)} GPUs free"
    if free:
        return text
    ends = [at for gpu in gpus if (at := _all_gone(gpu)) is not None]
    if not ends:
        return text
    left = max(min(ends) - moment(server.clock()), min(ends) - min(ends))
    minutes = round(left.total_seconds() / 60) * 60
    about = format_duration(type(left)(seconds=minutes)) if minutes else "less than a minute"
    return f"{text}, next free GPU in {about} at the latest"
