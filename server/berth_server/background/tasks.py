"""The set of all background loops."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from berth_server.background import (
    early_stop,
    gpu_telemetry,
    progress,
    timers,
    wal_checkpoint,
    webhooks,
    worker_watchdog,
)
from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.state import ServerState


@asynccontextmanager
async def running(
    server: ServerState, history: GpuTelemetry, *, send_webhooks: bool
) -> AsyncGenerator[None]:
    """Run every loop until the block is left."""
    async with anyio.create_task_group() as group:
        group.start_soon(timers.run, server)
        group.start_soon(worker_watchdog.run, server)
        group.start_soon(wal_checkpoint.run, server)
        group.start_soon(gpu_telemetry.run, server, history)
        group.start_soon(early_stop.run, server)
        group.start_soon(progress.run, server)
        if send_webhooks:
            group.start_soon(webhooks.run, server)
        yield
        group.cancel_scope.cancel()
