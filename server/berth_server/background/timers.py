"""Waking the service at the moments that no event announces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import structlog

from berth_server.api.context import Context
from berth_server.api.routes.live import keep_history
from berth_server.service.scheduling.timers import next_due, on_due, on_worker_silent

log = structlog.get_logger()
# A clock that is set forward must not make timers late by as much.
_LONGEST_S = 60.0
_FOLD_EVERY = 200


@asynccontextmanager
async def keep_time(context: Context) -> AsyncGenerator[None]:
    """Start times and planned moments at their time; say so when the worker falls silent."""
    async with anyio.create_task_group() as group:
        group.start_soon(_due, context)
        group.start_soon(_silence, context)
        group.start_soon(_fold, context)
        group.start_soon(keep_history, context)
        yield
        group.cancel_scope.cancel()


async def _due(context: Context) -> None:
    service = context.service
    moved = asyncio.Event()
    stop = service.on_due.listen(moved.set)
    try:
        while True:
            moved.clear()
            at = next_due(service)
            left = _LONGEST_S if at is None else min(at - service.clock(), _LONGEST_S)
            if left > 0:
                try:
                    async with asyncio.timeout(left):
                        await moved.wait()
                except TimeoutError:
                    pass
                continue
            on_due(service)
            # However dear a plan is, requests get their turn in between.
            await asyncio.sleep(0)
    finally:
        stop()


async def _silence(context: Context) -> None:
    service = context.service
    told = True  # nothing was heard yet: there is nobody to miss
    while True:
        limit = service.options.stale_after_s
        if service.sight.fresh(service.clock(), limit):
            told = False
        elif not told:
            told = True
            log.warning("worker.silent", seconds=limit)
            on_worker_silent(service)
        reported = service.sight.reported_at
        left = limit if reported is None or told else reported + limit - service.clock()
        await asyncio.sleep(max(left, 0.05) + 0.05)


async def _fold(context: Context) -> None:
    """Fold the write-ahead log after every few hundred commits, so that no request has to."""
    db = context.service.db
    folded = db.commits
    wake = asyncio.Event()
    stop = context.service.on_event.listen(wake.set)
    try:
        while True:
            await wake.wait()
            wake.clear()
            if db.commits - folded >= _FOLD_EVERY:
                folded = db.commits
                await anyio.to_thread.run_sync(db.fold)
    finally:
        stop()
