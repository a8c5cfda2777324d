"""Route of the dashboard's live stream: events as they happen, and the map of GPUs."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import Header
from fastapi.sse import EventSourceResponse

from berth.protocol.dashboard import Hello
from berth.protocol.events import Event
from berth_server.api import routing, streams
from berth_server.api.context import App, By, Context
from berth_server.api.routes.events import BATCH, After, LastEventId, start_of
from berth_server.service.gpus.gpu_map import show_box
from berth_server.service.jobs.show import show_event
from berth_server.store import events

router = routing.router(prefix="/api/v1/live", tag="dashboard")

INSTANCE = secrets.token_hex(4)
_LOOK_S = 1.0
# During a storm of events the map is sent this often at most.
_MAP_EVERY_S = 0.1
_PING_S = 5.0
_MOST_MAPS = 64


@router.get(
    "/stream",
    response_model=Event,
    summary="Follow everything a dashboard shows",
    responses=streams.described(
        "Events `hello` (Hello), `event` (Event), `box` (Box), `ping`, `bye`."
    ),
)
async def stream(
    app: App,
    caller: By,
    after: After = None,
    last_event_id: LastEventId = None,
    accept_encoding: Annotated[str, Header(description="With `gzip` it is compressed.")] = "",
) -> EventSourceResponse:
    """
    `hello` first, then each `event` as soon as it is written, and the `box` whenever its holders
    change, otherwise once a second while the worker reports something new. A `ping` every five
    seconds distinguishes a quiet box from a dead connection.
    """
    frames = _follow(app, caller.user, start_of(app, after, last_event_id))
    gzip = caller.via in {"cookie", "proxy"} and "gzip" in accept_encoding
    return streams.stream(app, caller, frames, gzip=gzip)


async def _follow(app: Context, user: str, last: int) -> AsyncIterator[bytes]:
    server = app.server
    hello = Hello(
        instance=INSTANCE, version=app.version, last_event_id=events.last_id(server.db.read)
    )
    yield streams.frame(hello, name="hello")
    shown: tuple[object, ...] | None = None
    shown_at = pinged_at = anyio.current_time()
    with streams.changes(app) as changed:
        while not app.closing.is_set():
            changed.clear()
            found = events.after(server.db.read, last, limit=BATCH)
            if found:
                last = found[-1].id
                yield b"".join(
                    streams.frame(show_event(e), name="event", event_id=e.id) for e in found
                )
            now = anyio.current_time()
            state = _map_state(app)
            pause_s = _LOOK_S
            if state != shown:
                if shown is None or now - shown_at >= _MAP_EVERY_S:
                    shown, shown_at = state, now
                    yield _map(app, user, state)
                else:
                    pause_s = _MAP_EVERY_S
            if now - pinged_at >= _PING_S:
                pinged_at = now
                yield streams.PING
            if len(found) < BATCH:
                await streams.wait(changed, pause_s)


def _map(app: Context, user: str, state: tuple[object, ...]) -> bytes:
    """Return the frame of the map; made once for all pages of a user."""
    known = app.maps.get(user)
    if known is None or known[0] != state:
        frame = streams.frame(show_box(app.server, user), name="box")
        known = app.maps[user] = (state, frame)
        while len(app.maps) > _MOST_MAPS:
            del app.maps[next(iter(app.maps))]
    return known[1]


def _map_state(app: Context) -> tuple[object, ...]:
    """Return what the map depends on; equal as long as it looks the same."""
    server = app.server
    snapshot = server.worker_state.snapshot
    return (
        server.cache.version,
        events.last_id(server.db.read),
        None if snapshot is None else snapshot.taken_at,
        server.worker_state.fresh(server.clock(), server.options.stale_after_s),
    )
