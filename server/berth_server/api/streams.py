"""Server-sent events: what the streams have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any

import anyio
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel

from berth_server.api.compression import compressed
from berth_server.api.context import Context
from berth_server.api.problems import ApiError
from berth_server.service.auth.callers import Caller

MEDIA_TYPE = EventSourceResponse.media_type
PING = format_sse_event(event="ping", data_str="{}")
IDLE = b""
"""Yielded by a stream that has nothing to send, at least every KEEP_ALIVE_S seconds."""
# Proxies and clients take a silent connection for a dead one.
KEEP_ALIVE_S = 15.0
_KEEP_ALIVE = format_sse_event(comment="keep-alive")
_BYE = format_sse_event(event="bye", data_str="{}")
# Without a blank line: it belongs to the first event, whichever that will be.
_RETRY = b"retry: 1000\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def frame(model: BaseModel, *, name: str | None = None, event_id: int | None = None) -> bytes:
    """Return one event. Without a name it is a plain message."""
    return format_sse_event(
        data_str=model.model_dump_json(),
        event=name,
        id=None if event_id is None else str(event_id),
    )


def described(events: str) -> dict[int | str, dict[str, Any]]:
    """Return `responses` of a route that sends a stream."""
    return {200: {"content": {MEDIA_TYPE: {}}, "description": events}}


def stream(
    app: Context, caller: Caller, frames: AsyncIterator[bytes], *, gzip: bool = False
) -> EventSourceResponse:
    """
    Answer with what `frames` yields until it ends or the client leaves, compressed where the client
    takes that (`gzip`). Raises ApiError where
    the caller follows too much already.

    When the server stops, `frames` has to end: it waits with `changes`. The client then gets
    `bye` and knows to come back.
    """
    most = app.settings.streams_per_user
    if app.streams[caller.uid] >= most:
        raise ApiError(429, f"You follow {most} streams already; close some and try again.")
    whole = _enclosed(app, caller, frames)
    if gzip:
        headers = {**_HEADERS, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return EventSourceResponse(compressed(whole), headers=headers)
    return EventSourceResponse(whole, headers=_HEADERS)


@contextmanager
def changes(app: Context) -> Generator[asyncio.Event]:
    """Event that is set at every change in the queue, and when the server stops."""
    changed = asyncio.Event()
    stops = (app.server.on_event.listen(changed.set), app.on_closing.listen(changed.set))
    try:
        yield changed
    finally:
        for stop in stops:
            stop()


async def wait(changed: asyncio.Event, seconds: float) -> bool:
    """Wait for a change, so many seconds at most; return whether there was one."""
    with anyio.move_on_after(seconds):
        await changed.wait()
    return changed.is_set()


async def _enclosed(
    app: Context, caller: Caller, frames: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    app.streams[caller.uid] += 1
    try:
        yield _RETRY
        sent_at = anyio.current_time()
        async for one in frames:
            now = anyio.current_time()
            if one or now - sent_at >= KEEP_ALIVE_S:
                sent_at = now
                yield one or _KEEP_ALIVE
        if app.closing.is_set():
            yield _BYE
    finally:
        app.streams[caller.uid] -= 1
