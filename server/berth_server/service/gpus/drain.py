"""Drains: an admin keeps new jobs off a GPU, or lets them on again."""

from __future__ import annotations

from datetime import datetime

from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Forbidden, Invalid, NotFound
from berth_server.service.phrases import clock_time
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, gpus
from berth_server.store.database import Transaction
from berth_server.store.gpus import Drain, KnownGpu


def find_gpu(server: ServerState, name: str) -> KnownGpu:
    """The GPU with this UUID or index. Raises NotFound."""
    for gpu in server.known_gpus:
        if name in {gpu.uuid, str(gpu.index)}:
            return gpu
    raise NotFound(f"This box has no GPU {name!r}; `berth gpus` shows which there are.")


def on_drain(
    server: ServerState,
    caller: Caller,
    name: str,
    reason: str | None,
    until: datetime | None = None,
) -> KnownGpu:
    """
    Let no new job onto a GPU, for ever or until a time; what runs there goes on.

    Drained again it takes the new reason and end. Raises NotFound, Forbidden and Invalid.
    """
    gpu = find_gpu(server, name)
    _may_drain(caller)
    end = None if until is None else until.timestamp()
    if end is not None and end <= server.clock():
        sentence = f"The drain would have ended already ({clock_time(end)}); give a later 'until'."
        raise Invalid(sentence, {"until": sentence})
    known = server.drains.get(gpu.uuid)
    if known is not None and (known.reason, known.until) == (reason, end):
        return gpu
    with change(server, caller.user) as tx:
        since = known.since if known else tx.now
        gpus.drain(tx, Drain(gpu.uuid, reason, caller.user, since, end))
        when = f" until {clock_time(end)}" if end is not None else ""
        why = f": {reason.rstrip('.')}" if reason else ""
        message = f"{caller.user} drains GPU {gpu.index}{when}{why}."
        events.write(tx, "gpu.drained", message, gpu_uuid=gpu.uuid)
        _reload(server, tx)
    server.on_due.send()
    return gpu


def on_undrain(server: ServerState, caller: Caller, name: str) -> KnownGpu:
    """Let jobs onto a GPU again. Raises NotFound and Forbidden."""
    gpu = find_gpu(server, name)
    _may_drain(caller)
    if gpu.uuid not in server.drains:
        return gpu
    with change(server, caller.user) as tx:
        gpus.undrain(tx, gpu.uuid)
        events.write(
            tx,
            "gpu.undrained",
            f"{caller.user} lets jobs onto GPU {gpu.index} again.",
            gpu_uuid=gpu.uuid,
        )
        _reload(server, tx)
    return gpu


def on_drains_over(server: ServerState) -> None:
    """Let jobs onto the GPUs whose drain has come to its end."""
    now = server.clock()
    over = [d for d in server.drains.values() if d.until is not None and d.until <= now]
    if not over:
        return
    index_of = {gpu.uuid: gpu.index for gpu in server.known_gpus}
    with change(server) as tx:
        for drain in over:
            gpus.undrain(tx, drain.gpu_uuid)
            which = index_of.get(drain.gpu_uuid, drain.gpu_uuid)
            message = f"The drain of GPU {which} is over; jobs are let onto it again."
            events.write(tx, "gpu.undrained", message, gpu_uuid=drain.gpu_uuid)
        _reload(server, tx)


def _reload(server: ServerState, tx: Transaction) -> None:
    server.drains = gpus.drains(tx)
    server.cache.version += 1


def _may_drain(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("Only an admin may drain GPUs; ask whoever runs this Berth.")
