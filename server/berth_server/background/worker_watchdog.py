"""Watchdog of the worker: records an event when its reports stop."""

from __future__ import annotations

import asyncio

import structlog

from berth_server.service.scheduling.timers import on_worker_silent
from berth_server.service.state import ServerState

log = structlog.get_logger()
_SLACK_S = 0.05


async def run(server: ServerState) -> None:
    """Sleep until the last report is too old; report that once for each silence."""
    reported = True  # before the first report there is no worker to miss
    while True:
        limit = server.options.stale_after_s
        if server.worker_state.fresh(server.clock(), limit):
            reported = False
        elif not reported:
            reported = True
            log.warning("worker.silent", seconds=limit)
            on_worker_silent(server)
        last = server.worker_state.reported_at
        left = limit if last is None or reported else last + limit - server.clock()
        await asyncio.sleep(max(left, _SLACK_S) + _SLACK_S)
