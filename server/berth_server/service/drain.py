"""A user keeps new jobs off a GPU, or lets them on again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_server.service.callers import Caller
from berth_server.service.errors import Forbidden, NotFound
from berth_server.store import events, gpus
from berth_server.store.gpus import Drain, KnownGpu

if TYPE_CHECKING:
    from berth_server.service.service import Service


def find_gpu(service: Service, name: str) -> KnownGpu:
    """The GPU with this UUID or index. Raises NotFound."""
    for gpu in service.known_gpus:
        if name in {gpu.uuid, str(gpu.index)}:
            return gpu
    raise NotFound(f"This box has no GPU {name!r}; `berth gpus` shows which there are.")


def on_drain(service: Service, caller: Caller, name: str, reason: str | None) -> KnownGpu:
    """Let no new job onto a GPU; what runs there goes on. Raises NotFound and Forbidden."""
    gpu = find_gpu(service, name)
    _may_drain(caller)
    known = service.drains.get(gpu.uuid)
    if known is not None and known.reason == reason:
        return gpu
    with service.change(caller.user, plan="never") as tx:
        since = known.since if known else tx.now
        gpus.drain(tx, Drain(gpu.uuid, reason, caller.user, since))
        why = f": {reason.rstrip('.')}" if reason else ""
        message = f"{caller.user} drains GPU {gpu.index}{why}."
        events.write(tx, "gpu.drained", message, gpu_uuid=gpu.uuid)
        tx.after_commit.append(lambda: _reload(service))
    return gpu


def on_undrain(service: Service, caller: Caller, name: str) -> KnownGpu:
    """Let jobs onto a GPU again. Raises NotFound and Forbidden."""
    gpu = find_gpu(service, name)
    _may_drain(caller)
    if gpu.uuid not in service.drains:
        return gpu
    with service.change(caller.user, plan="never") as tx:
        gpus.undrain(tx, gpu.uuid)
        events.write(
            tx,
            "gpu.undrained",
            f"{caller.user} lets jobs onto GPU {gpu.index} again.",
            gpu_uuid=gpu.uuid,
        )
        tx.after_commit.append(lambda: _reload(service))
    service.plan_now()
    return gpu


def _reload(service: Service) -> None:
    service.drains = gpus.drains(service.db.read)
    service.board.version += 1


def _may_drain(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("Only an admin may drain GPUs; ask whoever runs this Berth.")
