"""The set of all background loops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import structlog

from berth_server.background import (
    curve_watch,
    early_stop,
    gpu_telemetry,
    health,
    progress,
    timers,
    wal_checkpoint,
    waste_report,
    webhooks,
    worker_watchdog,
)
from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.state import ServerState

log = structlog.get_logger()
_PAUSE_S = 1.0


@asynccontextmanager
async def running(
    server: ServerState,
    history: GpuTelemetry,
    *,
    send_webhooks: bool,
    waste_report_to: str = "",
) -> AsyncGenerator[None]:
    """Run every loop until the block is left."""
    async with anyio.create_task_group() as group:
        loops = (timers.run, worker_watchdog.run, wal_checkpoint.run, early_stop.run)
        for loop in loops:
            group.start_soon(_kept, loop, server)
        group.start_soon(_kept, gpu_telemetry.run, server, history)
        group.start_soon(_kept, health.run, server, history)
        group.start_soon(_kept, progress.run, server)
        group.start_soon(_kept, curve_watch.run, server)
        if send_webhooks:
            group.start_soon(_kept, webhooks.run, server)
            addresses = waste_report_to.replace(",", " ").split()
            if addresses:
                group.start_soon(_kept, waste_report.run, server, history, addresses)
        yield
        group.cancel_scope.cancel()


async def _kept(run: Callable[..., Awaitable[None]], *args: object) -> None:
    """Run a loop, and again where it fails: a full disk or one bad row must not end the server."""
    while True:
        try:
            await run(*args)
        except Exception:
            log.exception("loop.failed", loop=run.__module__.rpartition(".")[2])
        await anyio.sleep(_PAUSE_S)
