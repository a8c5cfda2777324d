"""Timers: start times, time limits and planned moments, each at its time."""

from __future__ import annotations

import asyncio

from berth_server.service.scheduling.timers import next_due, on_due
from berth_server.service.state import ServerState

# A clock that is set forward must not delay timers by as much.
_LONGEST_SLEEP_S = 60.0


async def run(server: ServerState) -> None:
    """Call the service at each moment that no event announces."""
    moved = asyncio.Event()
    stop = server.on_due.listen(moved.set)
    try:
        while True:
            moved.clear()
            at = next_due(server)
            left = _LONGEST_SLEEP_S if at is None else min(at - server.clock(), _LONGEST_SLEEP_S)
            if left > 0:
                try:
                    async with asyncio.timeout(left):
                        await moved.wait()
                except TimeoutError:
                    pass
                continue
            on_due(server)
            # However expensive a plan is, requests get their turn in between.
            await asyncio.sleep(0)
    finally:
        stop()
