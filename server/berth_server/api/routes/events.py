"""Routes of the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import Header, Query
from fastapi.sse import EventSourceResponse

from berth import jobfiles
from berth.protocol.events import Event, EventPage
from berth_server.api import routing, streams
from berth_server.api.context import App, By, Context, Server
from berth_server.api.routes.jobs import MAX_ID
from berth_server.service.jobs.show import show_event
from berth_server.store import events

router = routing.router(prefix="/api/v1/events", tag="events")

BATCH = 500
After = Annotated[
    int | None, Query(ge=0, le=MAX_ID, description="Only events with larger ids.", examples=[1205])
]
LastEventId = Annotated[
    str | None, Header(description="Id of the last event seen; overrides `after`.")
]
_Job = Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only events of this job.")]


@router.get("", summary="List events")
async def list_events(
    server: Server,
    after: After = None,
    job: _Job = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of events.")] = 100,
    order: Annotated[
        Literal["oldest", "newest"] | None,
        Query(description="Which ones when there are more; the default is `oldest` with `after`."),
    ] = None,
) -> EventPage:
    """Events by increasing id. Without `after` the newest ones."""
    reader = server.db.read
    if (order or ("newest" if after is None else "oldest")) == "newest":
        found = [e for e in events.newest(reader, limit=limit, job_id=job) if e.id > (after or 0)]
    else:
        found = events.after(reader, after or 0, limit=limit, job_id=job)
    last = found[-1].id if found else max(after or 0, events.last_id(reader) if not job else 0)
    return EventPage.model_construct(events=[show_event(e) for e in found], last_id=last)


@router.get(
    "/stream",
    response_model=Event,
    summary="Follow events",
    responses=streams.described("Events without a name (Event), `bye`."),
)
async def stream_events(
    app: App, caller: By, after: After = None, job: _Job = None, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """
    Server-sent events: each is an `Event`, its id the event's. They start after `Last-Event-ID`
    or `after`; without either, now. None is missed and none comes twice.
    """
    return streams.stream(app, caller, _follow(app, start_of(app, after, last_event_id), job))


def start_of(app: Context, after: int | None, last_event_id: str | None) -> int:
    """Return the id of the event after which a stream starts."""
    newest = events.last_id(app.server.db.read)
    if last_event_id is not None:
        told = jobfiles.whole(last_event_id, MAX_ID)
        after = after if told is None else told
    # A larger id is from an earlier database: start with what there is.
    return newest if after is None or after > newest else after


async def _follow(app: Context, last: int, job: int | None) -> AsyncIterator[bytes]:
    with streams.changes(app) as changed:
        while not app.closing.is_set():
            changed.clear()
            found = events.after(app.server.db.read, last, limit=BATCH, job_id=job)
            if found:
                last = found[-1].id
                yield b"".join(streams.frame(show_event(e), event_id=e.id) for e in found)
            else:
                await streams.wait(changed, streams.KEEP_ALIVE_S)
                yield streams.IDLE
