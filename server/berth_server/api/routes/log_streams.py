"""Routes that follow a log as it is written: its bytes, or its lines for the eye."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
from fastapi import Header, Query
from fastapi.sse import EventSourceResponse, format_sse_event

from berth import jobfiles
from berth.protocol.logs import LogChunk, LogEnd, LogLines
from berth.protocol.states import Outcome
from berth_server.api import routing, streams
from berth_server.api.context import App, By, Context
from berth_server.api.routes.jobs import MAX_ID, JobId
from berth_server.api.routes.logs import Log, Number
from berth_server.service.jobs import lookup
from berth_server.service.logs.pages import LogFile, log_file
from berth_server.store import attempts

router = routing.router(prefix="/api/v1/jobs/{job_id}/log", tag="logs")

_CHUNK = 128 << 10
# A follower must not cost the job its processor: at most 12.5 MiB/s each.
_CHUNK_PAUSE_S = 0.01
_MOST_LINES = 500
# Between two looks at the lines: faster than anyone reads.
_LINES_PAUSE_S = 0.08
_PING_S = 5.0
# The worker makes the run directory shortly after the attempt was decided.
_APPEARS_S = 0.02
_END = format_sse_event(event="end", data_str="{}")


@router.get(
    "/stream",
    response_model=LogChunk,
    summary="Follow the log",
    responses=streams.described("Events `log` (LogChunk), `end` (LogEnd), `bye`."),
)
async def stream_log(
    app: App,
    caller: By,
    job_id: JobId,
    log: Log,
    attempt: Number = None,
    offset: Annotated[
        int, Query(ge=-MAX_ID, le=MAX_ID, description="First byte; negative counts from the end.")
    ] = 0,
    last_event_id: Annotated[
        str | None, Header(description="Offset to continue from; overrides `offset`.")
    ] = None,
) -> EventSourceResponse:
    """
    Server-sent events: `log` with each new piece (its id is the offset after it), then `end`
    when the attempt has ended and everything was sent. Waits for a job that has not started.
    Without `attempt` it follows the newest; when that is retried, open a new stream after `end`.
    """
    del log  # it exists; which attempt is the newest may change until it begins
    told = None if last_event_id is None else jobfiles.whole(last_event_id, MAX_ID)
    start = offset if told is None else told
    return streams.stream(app, caller, _bytes(app, job_id, attempt, start))


@router.get(
    "/tail",
    response_model=LogLines,
    summary="Follow the newest lines",
    responses=streams.described("Events `lines` (LogLines), `end`, `ping`, `bye`."),
)
async def tail_log(
    app: App,
    caller: By,
    job_id: JobId,
    log: Log,
    attempt: Number = None,
    line: Annotated[
        int, Query(alias="from", ge=0, le=MAX_ID, description="First line to send, from 0.")
    ] = 0,
) -> EventSourceResponse:
    """
    Server-sent events: `lines` with what is new, as a terminal shows it. The last line is sent
    again while it grows or overwrites itself. When more than 500 lines came at once, only the
    newest are sent, and `first` says which. `end` follows when the attempt has ended.
    """
    del log
    return streams.stream(app, caller, _lines(app, job_id, attempt, line))


async def _bytes(
    app: Context, job_id: int, number: int | None, offset: int
) -> AsyncIterator[bytes]:
    with streams.changes(app) as changed:
        while not app.closing.is_set():
            changed.clear()
            log = log_file(app.server, job_id, number)
            handle = None
            if log.attempt is not None:
                number = int(log.attempt.partition(".")[2])
                handle = log.open()
            if handle is not None:
                try:
                    async for one in _pieces(app, (job_id, number), handle, offset, changed):
                        yield one
                    size = os.fstat(handle).st_size
                finally:
                    os.close(handle)
                if not app.closing.is_set():
                    yield _end(app, job_id, log.attempt, size)
                return
            if log.complete:
                yield _end(app, job_id, log.attempt, 0)
                return
            await streams.wait(changed, streams.KEEP_ALIVE_S if number is None else _APPEARS_S)
            yield streams.IDLE


async def _pieces(
    app: Context,
    which: tuple[int, int | None],
    handle: int,
    offset: int,
    changed: asyncio.Event,
) -> AsyncIterator[bytes]:
    def size() -> int:
        return os.fstat(handle).st_size

    place = max(0, size() + offset) if offset < 0 else min(offset, size())
    if offset < 0:
        place = _whole_character(handle, place)
    sent = place
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    attempt = f"{which[0]}.{which[1]}"
    while not app.closing.is_set():
        changed.clear()
        # Asked before the read: what was written before the end is then read after it.
        complete = log_file(app.server, *which).complete
        data = os.pread(handle, _CHUNK, place)
        if data:
            text = decoder.decode(data)
            place += len(data)
            # Bytes of a character that is not whole yet come with the next piece.
            start, sent = sent, place - len(decoder.getstate()[0])
            if text:
                chunk = LogChunk.model_construct(attempt=attempt, offset=start, text=text)
                yield streams.frame(chunk, name="log", event_id=sent)
            await asyncio.sleep(_CHUNK_PAUSE_S)
            continue
        if complete:
            rest = decoder.decode(b"", final=True)
            if rest:
                chunk = LogChunk.model_construct(attempt=attempt, offset=sent, text=rest)
                yield streams.frame(chunk, name="log", event_id=place)
            return
        with app.growth.watch(size, place, changed.set):
            grew = await streams.wait(changed, streams.KEEP_ALIVE_S)
        if not grew:
            yield streams.IDLE


async def _lines(app: Context, job_id: int, number: int | None, line: int) -> AsyncIterator[bytes]:
    size = -1
    with streams.changes(app) as changed:
        while not app.closing.is_set():
            changed.clear()
            log = log_file(app.server, job_id, number)
            if log.attempt is not None:
                number = int(log.attempt.partition(".")[2])
                if log.size() != size:
                    found = await anyio.to_thread.run_sync(_newest, app, log, line)
                    size = found.size_bytes
                    # The last line is not whole yet, or was not when it was read.
                    line = max(0, found.total - 1)
                    yield streams.frame(found, name="lines")
            if log.complete:
                yield _END
                return
            await asyncio.sleep(_LINES_PAUSE_S)
            with app.growth.watch(log.size, max(0, size), changed.set):
                grew = await streams.wait(changed, _PING_S)
            if not grew:
                yield streams.PING


def _newest(app: Context, log: LogFile, line: int) -> LogLines:
    found = app.lines.read(log, line, _MOST_LINES, as_shown=True, times=True)
    if found.first + len(found.lines) < found.total:
        found = app.lines.read(log, -_MOST_LINES, _MOST_LINES, as_shown=True, times=True)
    return found


def _whole_character(handle: int, place: int) -> int:
    """Return the first place from here on that is not inside a UTF-8 character."""
    for byte in os.pread(handle, 3, place):
        if byte & 0xC0 != 0x80:
            break
        place += 1
    return place


def _end(app: Context, job_id: int, attempt: str | None, size: int) -> bytes:
    reader = app.server.db.read
    job = lookup.job(reader, job_id)
    number = None if attempt is None else int(attempt.partition(".")[2])
    record = None if number is None else attempts.get(reader, job_id, number)
    outcome = record.outcome if record is not None else job.outcome
    return streams.frame(
        LogEnd(
            attempt=attempt,
            outcome=None if outcome is None else Outcome(outcome),
            exit_code=record.exit_code if record is not None else job.exit_code,
            size_bytes=size,
            job_state=lookup.state_of(job),
        ),
        name="end",
    )
