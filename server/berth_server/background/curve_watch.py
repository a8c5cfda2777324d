"""Watch over the losses of running attempts."""

from __future__ import annotations

import asyncio

import anyio.to_thread
import structlog

from berth_server.service.logs.curve_watch import CurveWatch, on_findings
from berth_server.service.state import ServerState

log = structlog.get_logger()
_PERIOD_S = 5.0


async def run(server: ServerState) -> None:
    """Look every five seconds; files are read on a thread."""
    watch = CurveWatch()
    while True:
        try:
            due = watch.due(server)
            found = await anyio.to_thread.run_sync(watch.look, due) if due else {}
            if found:
                on_findings(server, found)
        except Exception:
            # A curve that cannot be judged must not take the queue down.
            log.exception("curves.failed")
        await asyncio.sleep(_PERIOD_S)
