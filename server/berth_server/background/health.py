"""Health of running attempts, looked at every five seconds."""

from __future__ import annotations

import asyncio

import anyio.to_thread
import structlog

from berth_server.service.attempts.health import HealthWatch
from berth_server.service.gpus.telemetry import GpuTelemetry, most_power
from berth_server.service.state import ServerState

log = structlog.get_logger()
_PERIOD_S = 5.0


async def run(server: ServerState, history: GpuTelemetry) -> None:
    """Watch for stalls, stragglers, losses that are not finite, and limits that are too short."""
    watch = HealthWatch()
    while True:
        await asyncio.sleep(_PERIOD_S)
        try:
            unseen = watch.unseen(server)
            if unseen:
                now = server.clock()
                watch.recall(
                    server, await anyio.to_thread.run_sync(most_power, history, unseen, now)
                )
            watch.look(server)
        except Exception:
            # One attempt that cannot be judged must not take the queue down.
            log.exception("health.failed")
