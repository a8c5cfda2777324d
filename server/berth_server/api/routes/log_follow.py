"""The route that follows a log as it is written."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import anyio
from fastapi import Header, Query, Request, Response

from berth.protocol.logs import LogChunk, LogEnd
from berth.protocol.states import Outcome
from berth_server.api import routing
from berth_server.api.context import Context, context
from berth_server.api.routes.jobs import MAX_ID, JobId
from berth_server.api.routes.logs import Number
from berth_server.api.sse import EventStream, frame
from berth_server.service.jobs import lookup
from berth_server.service.logs.pages import LOG_NAME, LogFile, log_file
from berth_server.store import attempts

router = routing.router(prefix="/api/v1/jobs/{job_id}/log", tag="logs")

_CHUNK = 128 << 10
# A follower must not cost the job its processor: at most 12.5 MiB/s each.
_PAUSE_S = 0.01
# The run directory is made by the worker shortly after the attempt was decided.
_APPEARS_S = 0.02


@router.get(
    "/stream",
    response_model=LogChunk,
    summary="Follow the log",
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events `log`, `end`."}},
)
async def stream_log(
    request: Request,
    job_id: JobId,
    attempt: Number = None,
    offset: Annotated[
        int, Query(ge=-MAX_ID, le=MAX_ID, description="First byte; negative counts from the end.")
    ] = 0,
    last_event_id: Annotated[
        str | None, Header(description="Offset to go on from; stands over `offset`.")
    ] = None,
) -> Response:
    """
    Server-sent events: `log` with each new piece (its id is the offset after it), then `end`
    when the attempt has ended and everything was sent. Waits for a job that has not started.
    Without `attempt` it follows the newest; when that is retried, open a new stream after `end`.
    """
    room = context(request)
    lookup.attempt(room.server.db.read, job_id, attempt)
    start = offset
    if last_event_id is not None and last_event_id.isdecimal():
        start = min(int(last_event_id), MAX_ID)
    return EventStream(room, _follow(room, job_id, attempt, start))


async def _follow(
    room: Context, job_id: int, number: int | None, offset: int
) -> AsyncIterator[bytes]:
    news = asyncio.Event()
    stop = room.server.on_event.listen(news.set)
    try:
        log = await _begun(room, job_id, number, news)
        if log.attempt is None:
            yield _end(room, job_id, None, 0)
            return
        number = int(log.attempt.partition(".")[2])
        handle = await _opened(room, job_id, number, news)
        if handle is None:
            yield _end(room, job_id, log.attempt, 0)
            return
        try:
            async for one in _pieces(room, job_id, number, handle, offset):
                yield one
            yield _end(room, job_id, log.attempt, os.fstat(handle).st_size)
        finally:
            os.close(handle)
    finally:
        stop()


async def _begun(room: Context, job_id: int, number: int | None, news: asyncio.Event) -> LogFile:
    """The log once the job has an attempt, or has ended without one."""
    while True:
        news.clear()
        log = log_file(room.server, job_id, number)
        if log.attempt is not None or log.complete:
            return log
        await news.wait()


async def _opened(room: Context, job_id: int, number: int, news: asyncio.Event) -> int | None:
    """The open log once it is there; None when the attempt ended without one."""
    while True:
        news.clear()
        log = log_file(room.server, job_id, number)
        handle = log.open()
        if handle is not None or log.complete:
            return handle
        with anyio.move_on_after(_APPEARS_S):
            await news.wait()


async def _pieces(
    room: Context, job_id: int, number: int, handle: int, offset: int
) -> AsyncIterator[bytes]:
    size = os.fstat(handle).st_size
    place = max(0, size + offset) if offset < 0 else min(offset, size)
    if offset < 0:
        place = _whole_character(handle, place)
    sent = place
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    attempt = f"{job_id}.{number}"
    news = asyncio.Event()
    stop = room.server.on_event.listen(news.set)
    try:
        while True:
            news.clear()
            # Asked before the read: what was written before the end is then read after it.
            complete = log_file(room.server, job_id, number).complete
            data = os.pread(handle, _CHUNK, place)
            if data:
                text = decoder.decode(data)
                place += len(data)
                # Bytes of a character that is not whole yet come with the next piece.
                start, sent = sent, place - len(decoder.getstate()[0])
                if text:
                    chunk = LogChunk.model_construct(attempt=attempt, offset=start, text=text)
                    yield frame(chunk, name="log", event_id=sent)
                await asyncio.sleep(_PAUSE_S)
                continue
            if complete:
                rest = decoder.decode(b"", final=True)
                if rest:
                    chunk = LogChunk.model_construct(attempt=attempt, offset=sent, text=rest)
                    yield frame(chunk, name="log", event_id=place)
                return
            await _news_or_growth(room, log_file(room.server, job_id, number), place, news)
    finally:
        stop()


async def _news_or_growth(room: Context, log: LogFile, place: int, news: asyncio.Event) -> None:
    assert log.run_dir is not None
    path = str(Path(log.run_dir, LOG_NAME))
    async with anyio.create_task_group() as group:

        async def grown() -> None:
            await room.watch.grown(path, place)
            group.cancel_scope.cancel()

        group.start_soon(grown)
        await news.wait()
        group.cancel_scope.cancel()


def _whole_character(handle: int, place: int) -> int:
    """The first place from here on that is not inside a UTF-8 character."""
    for byte in os.pread(handle, 3, place):
        if byte & 0xC0 != 0x80:
            break
        place += 1
    return place


def _end(room: Context, job_id: int, attempt: str | None, size: int) -> bytes:
    reader = room.server.db.read
    job = lookup.job(reader, job_id)
    number = None if attempt is None else int(attempt.partition(".")[2])
    record = None if number is None else attempts.get(reader, job_id, number)
    outcome = record.outcome if record is not None else job.outcome
    return frame(
        LogEnd(
            attempt=attempt,
            outcome=None if outcome is None else Outcome(outcome),
            exit_code=record.exit_code if record is not None else job.exit_code,
            size_bytes=size,
            job_state=lookup.state_of(job),
        ),
        name="end",
    )
