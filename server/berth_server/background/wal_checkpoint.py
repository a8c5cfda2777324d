"""Checkpoints of the write-ahead log, on a thread, so that no request has to wait for one."""

from __future__ import annotations

import asyncio

import anyio.to_thread

from berth_server.service.service import Service

_COMMITS_BETWEEN = 200


async def run(service: Service) -> None:
    """Checkpoint after every few hundred commits."""
    db = service.db
    done = db.commits
    wake = asyncio.Event()
    stop = service.on_event.listen(wake.set)
    try:
        while True:
            await wake.wait()
            wake.clear()
            if db.commits - done >= _COMMITS_BETWEEN:
                done = db.commits
                await anyio.to_thread.run_sync(db.fold)
    finally:
        stop()
