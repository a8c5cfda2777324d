"""The stream that a dashboard lives on: events as they happen, and the map of GPUs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import Header, Query, Request, Response

from berth.protocol.dashboard import Hello
from berth.protocol.events import Event
from berth_server.api import routing
from berth_server.api.context import Context, context
from berth_server.api.routes.jobs import MAX_ID
from berth_server.api.sse import EventStream, frame
from berth_server.service.gpus.gpu_map import show_box
from berth_server.service.jobs.present import show_event
from berth_server.store import events

router = routing.router(prefix="/api/v1/live", tag="dashboard")

INSTANCE = secrets.token_hex(4)
_BATCH = 500
_LOOK_S = 1.0
# During a storm of events the map is told this often at most.
_MAP_EVERY_S = 0.1
_PING_S = 5.0
_PING = b"event: ping\ndata: {}\n\n"


@router.get(
    "/stream",
    response_model=Event,
    summary="Follow everything a dashboard shows",
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "Events `hello` (Hello), `event` (Event), `box` (Box), `ping`, `bye`.",
        }
    },
)
async def stream(
    request: Request,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_ID, description="Only events with larger ids.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event seen; stands over `after`.")
    ] = None,
) -> Response:
    """
    `hello` first, then each `event` in the moment it is written, and the `box` whenever its
    holders change, else once a second while the worker sees something new. `ping` every five
    seconds lets a page tell a quiet box from a dead line.
    """
    room = context(request)
    newest = events.last_id(room.server.db.read)
    start = after
    if last_event_id is not None and last_event_id.isdecimal():
        start = min(int(last_event_id), MAX_ID)
    start = newest if start is None or start > newest else start
    return EventStream(room, _follow(room, start, newest))


async def _follow(room: Context, last: int, newest: int) -> AsyncIterator[bytes]:
    yield frame(Hello(instance=INSTANCE, version=room.version, last_event_id=newest), name="hello")
    server = room.server
    news = asyncio.Event()
    stop = server.on_event.listen(news.set)
    shown: tuple[object, ...] | None = None
    shown_at = pinged_at = anyio.current_time()
    try:
        while True:
            news.clear()
            found = events.after(server.db.read, last, limit=_BATCH)
            if found:
                last = found[-1].id
                yield b"".join(frame(show_event(e), name="event", event_id=e.id) for e in found)
            now = anyio.current_time()
            seen = _seen(room)
            wait = _LOOK_S
            if seen != shown:
                if shown is None or now - shown_at >= _MAP_EVERY_S:
                    shown, shown_at = seen, now
                    yield frame(show_box(server), name="box")
                else:
                    wait = _MAP_EVERY_S
            if now - pinged_at >= _PING_S:
                pinged_at = now
                yield _PING
            if len(found) < _BATCH:
                with anyio.move_on_after(wait):
                    await news.wait()
    finally:
        stop()


def _seen(room: Context) -> tuple[object, ...]:
    """Whatever the map shows depends on; equal as long as it looks the same."""
    server = room.server
    snapshot = server.worker_state.snapshot
    return (
        server.cache.version,
        events.last_id(server.db.read),
        None if snapshot is None else snapshot.taken_at,
        server.worker_state.fresh(server.clock(), server.options.stale_after_s),
    )
