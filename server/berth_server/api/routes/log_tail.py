"""Following a log line by line, for eyes: a flood becomes its newest lines, a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import Query, Request, Response

from berth.protocol.logs import LogLines
from berth_server.api import routing
from berth_server.api.context import Context, context
from berth_server.api.routes.jobs import MAX_ID, JobId
from berth_server.api.routes.logs import Number
from berth_server.api.sse import EventStream, frame
from berth_server.service.jobs import lookup
from berth_server.service.logs.pages import LOG_NAME, LogFile, log_file

router = routing.router(prefix="/api/v1/jobs/{job_id}/log", tag="dashboard")

_MOST_LINES = 500
# Between two looks: nobody reads faster, and the job keeps its processor.
_PAUSE_S = 0.08
_PING_S = 5.0
_END = b"event: end\ndata: {}\n\n"
_PING = b"event: ping\ndata: {}\n\n"


@router.get(
    "/tail",
    response_model=LogLines,
    summary="Follow the newest lines",
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "Events `lines` (LogLines), `end`, `ping`, `bye`.",
        }
    },
)
async def tail_log(
    request: Request,
    job_id: JobId,
    attempt: Number = None,
    line: Annotated[
        int, Query(alias="from", ge=0, le=MAX_ID, description="First line to send, from 0.")
    ] = 0,
) -> Response:
    """
    Server-sent events: `lines` with what is new, as a terminal shows it. The last line is sent
    again while it grows or writes over itself. When more than 500 lines came at once only the
    newest are sent: `first` tells. `end` follows when the attempt has ended.
    """
    room = context(request)
    lookup.attempt(room.server.db.read, job_id, attempt)
    return EventStream(room, _follow(room, job_id, attempt, line))


async def _follow(
    room: Context, job_id: int, number: int | None, line: int
) -> AsyncIterator[bytes]:
    news = asyncio.Event()
    stop = room.server.on_event.listen(news.set)
    size = -1
    try:
        while True:
            news.clear()
            log = log_file(room.server, job_id, number)
            if log.attempt is not None:
                number = int(log.attempt.partition(".")[2])
                found = await anyio.to_thread.run_sync(_newest, room, log, line)
                if found.size_bytes != size:
                    size = found.size_bytes
                    # The last line is not whole yet, or was not when it was read.
                    line = max(0, found.total - 1)
                    yield frame(found, name="lines")
            if log.complete:
                yield _END
                return
            await asyncio.sleep(_PAUSE_S)
            with anyio.move_on_after(_PING_S) as waited:
                await _news_or_growth(room, log, max(0, size), news)
            if waited.cancelled_caught:
                yield _PING
    finally:
        stop()


def _newest(room: Context, log: LogFile, line: int) -> LogLines:
    found = room.lines.read(log, line, _MOST_LINES, as_shown=True)
    if found.first + len(found.lines) < found.total:
        found = room.lines.read(log, -_MOST_LINES, _MOST_LINES, as_shown=True)
    return found


async def _news_or_growth(room: Context, log: LogFile, size: int, news: asyncio.Event) -> None:
    if log.run_dir is None:
        await news.wait()
        return
    path = str(Path(log.run_dir, LOG_NAME))
    async with anyio.create_task_group() as group:

        async def grown() -> None:
            await room.watch.grown(path, size)
            group.cancel_scope.cancel()

        group.start_soon(grown)
        await news.wait()
        group.cancel_scope.cancel()
