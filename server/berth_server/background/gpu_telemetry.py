"""Samples of the GPUs, kept for the charts."""

from __future__ import annotations

import asyncio

import structlog

from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.state import ServerState

log = structlog.get_logger()
_PERIOD_S = 5.0
_KEEP_S = 60.0
"""Most of an attempt's use that a crash of the server loses."""


async def run(server: ServerState, history: GpuTelemetry) -> None:
    """Append a sample every five seconds while the worker reports; keep what attempts used."""
    failed, kept_at = False, server.clock()
    while True:
        snapshot = server.worker_state.snapshot
        now = server.clock()
        if snapshot is not None and server.worker_state.fresh(now, server.options.stale_after_s):
            try:
                history.take(snapshot, now)
                if now - kept_at >= _KEEP_S and server.use.current:
                    kept_at = now
                    with server.db.write(now=now, actor="system", durable=False) as tx:
                        server.use.keep(tx)
                failed = False
            except OSError as error:
                # A full disk must not take the queue down; logged once, not every five seconds.
                if not failed:
                    log.warning("history.not_written", reason=str(error))
                failed = True
        await asyncio.sleep(_PERIOD_S)
