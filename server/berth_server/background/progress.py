"""Progress of running attempts, read from their files every few seconds."""

from __future__ import annotations

import asyncio

import anyio.to_thread
import structlog

from berth_server.service.progress.links import on_signs
from berth_server.service.progress.looking import ProgressLooks
from berth_server.service.state import ServerState

log = structlog.get_logger()
_PERIOD_S = 2.0


async def run(server: ServerState) -> None:
    """Look every two seconds at attempts younger than ten minutes, every ten at others."""
    looks = ProgressLooks()
    while True:
        try:
            now = server.clock()
            due = looks.due(server, now)
            if due:
                server.progress.put(await anyio.to_thread.run_sync(looks.look, due, now))
                on_signs(server, looks.signs(due))
        except Exception:
            # Progress that cannot be read must not take the queue down.
            log.exception("progress.failed")
        await asyncio.sleep(_PERIOD_S)
