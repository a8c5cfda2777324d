"""Drains: an admin keeps new jobs off a GPU, or lets them on again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from berth.protocol.message import GpuRef, Message, UserRef, quoted
from berth_server.core.explain.phrases import because, clock_at, code
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Forbidden, Invalid, NotFound
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
    shows = (code("berth gpus"), " shows which there are.")
    raise NotFound(Message.of(f"This box has no GPU {name!r}; ", *shows))


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
        message = Message.of(
            *("The drain would have ended already (", clock_at(end), "); give a later "),
            *(quoted("until"), "."),
        )
        raise Invalid(message, "until")
    known = server.drains.get(gpu.uuid)
    if known is not None and (known.reason, known.until) == (reason, end):
        return gpu
    with change(server, caller.user) as tx:
        since = known.since if known else tx.now
        gpus.drain(tx, Drain(gpu.uuid, reason, caller.user, since, end))
        when = (" until ", clock_at(end)) if end is not None else ()
        who, which = UserRef(name=caller.user), GpuRef(indices=(gpu.index,))
        message = Message.of(who, " drains ", which, *when, because(reason), ".")
        events.write(tx, "gpu.drained", message, gpu_uuid=gpu.uuid)
        _reload(server, tx)
    server.on_due.send()
    return gpu


def on_hook_failed(
    server: ServerState, tx: Transaction, uuids: Iterable[str], sentence: str
) -> None:
    """Keep new jobs off the GPUs of an attempt whose prologue or epilogue failed."""
    index_of = {gpu.uuid: gpu.index for gpu in server.known_gpus}
    fresh = [uuid for uuid in uuids if uuid not in server.drains]
    for uuid in fresh:
        gpus.drain(tx, Drain(uuid, sentence, tx.actor, tx.now, None))
        index = index_of.get(uuid)
        which = f"GPU {uuid}" if index is None else GpuRef(indices=(index,))
        message = Message.of(which, " takes no new jobs. ", sentence)
        events.write(tx, "gpu.drained", message, gpu_uuid=uuid)
    if fresh:
        _reload(server, tx)


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
            Message.of(
                *(UserRef(name=caller.user), " lets jobs onto "),
                *(GpuRef(indices=(gpu.index,)), " again."),
            ),
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
            index = index_of.get(drain.gpu_uuid)
            which = f"GPU {drain.gpu_uuid}" if index is None else GpuRef(indices=(index,))
            message = Message.of(
                "The drain of ", which, " is over; new jobs may start on it again."
            )
            events.write(tx, "gpu.undrained", message, gpu_uuid=drain.gpu_uuid)
        _reload(server, tx)


def _reload(server: ServerState, tx: Transaction) -> None:
    server.drains = gpus.drains(tx)
    server.cache.version += 1


def _may_drain(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("Only an admin may drain GPUs; ask an admin of this box.")
