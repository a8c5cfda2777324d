"""Early stopping: runs of an ablation are ended as its rule says."""

from __future__ import annotations

import asyncio

import anyio.to_thread
import structlog

from berth_server.service.ablations.early_stopping import EarlyStops, Watched, on_early_stop
from berth_server.service.state import ServerState

log = structlog.get_logger()
_PERIOD_S = 10.0


async def run(server: ServerState) -> None:
    """Apply the rules of all ablations every ten seconds; curves are read on a thread."""
    early = EarlyStops()
    while True:
        for watched in _watched(server, early):
            try:
                ends = await anyio.to_thread.run_sync(early.read, watched)
                on_early_stop(server, watched, ends)
            except Exception:
                # One rule that cannot be applied must not take the others along.
                log.exception("early_stop.failed", ablation=watched.id)
        await asyncio.sleep(_PERIOD_S)


def _watched(server: ServerState, early: EarlyStops) -> list[Watched]:
    try:
        return early.watched(server)
    except Exception:
        log.exception("early_stop.failed")
        return []
