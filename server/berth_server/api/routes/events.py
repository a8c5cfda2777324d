"""Routes of the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import Header, Query, Request, Response

from berth.protocol.events import Event, EventPage
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.context import Context, context
from berth_server.api.routes.jobs import MAX_ID
from berth_server.api.sse import EventStream, frame
from berth_server.service.jobs.present import show_event
from berth_server.store import events

router = routing.router(prefix="/api/v1/events", tag="events")

_BATCH = 500
_After = Annotated[
    int | None, Query(ge=0, le=MAX_ID, description="Only events with larger ids.", examples=[1205])
]
_Job = Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only events of this job.")]


@router.get("", response_model=EventPage, summary="List events")
async def list_events(
    request: Request,
    after: _After = None,
    job: _Job = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most events on the page.")] = 100,
    order: Annotated[
        Literal["oldest", "newest"] | None,
        Query(description="Which ones when there are more; the default is `oldest` with `after`."),
    ] = None,
) -> Response:
    """Events in increasing order of id. Without `after` the newest ones."""
    reader = context(request).server.db.read
    if (order or ("newest" if after is None else "oldest")) == "newest":
        found = [e for e in events.newest(reader, limit=limit, job_id=job) if e.id > (after or 0)]
    else:
        found = events.after(reader, after or 0, limit=limit, job_id=job)
    last = found[-1].id if found else max(after or 0, events.last_id(reader) if not job else 0)
    return answer(EventPage.model_construct(events=[show_event(e) for e in found], last_id=last))


@router.get(
    "/stream",
    response_model=Event,
    summary="Follow events",
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def stream_events(
    request: Request,
    after: _After = None,
    job: _Job = None,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event seen; stands over `after`.")
    ] = None,
) -> Response:
    """
    Server-sent events: each is an `Event`, its id the event's. From `Last-Event-ID` or `after`
    on; without either from now on. None is missed and none comes twice.
    """
    room = context(request)
    start = after
    if last_event_id is not None and last_event_id.isdecimal():
        start = min(int(last_event_id), MAX_ID)
    newest = events.last_id(room.server.db.read)
    # An id from the future is from a database that is no more: begin with what there is.
    start = newest if start is None or start > newest else start
    return EventStream(room, _follow(room, start, job))


async def _follow(room: Context, last: int, job: int | None) -> AsyncIterator[bytes]:
    news = asyncio.Event()
    stop = room.server.on_event.listen(news.set)
    try:
        while True:
            news.clear()
            found = events.after(room.server.db.read, last, limit=_BATCH, job_id=job)
            if not found:
                await news.wait()
                continue
            last = found[-1].id
            yield b"".join(frame(show_event(event), event_id=event.id) for event in found)
    finally:
        stop()
