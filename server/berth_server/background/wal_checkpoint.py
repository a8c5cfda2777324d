"""Checkpoints of the write-ahead log, on a thread, so that no request has to wait for one."""

from __future__ import annotations

import asyncio

import anyio.to_thread

from berth_server.service.state import ServerState

_COMMITS_BETWEEN = 200


async def run(server: ServerState) -> None:
    """Checkpoint after every few hundred commits."""
    db = server.db
    done = db.commits
    wake = asyncio.Event()
    stop = server.on_event.listen(wake.set)
    try:
        while True:
            await wake.wait()
            wake.clear()
            if db.commits - done >= _COMMITS_BETWEEN:
                done = db.commits
                await anyio.to_thread.run_sync(db.fold)
    finally:
        stop()
