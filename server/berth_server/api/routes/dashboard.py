"""Routes that the dashboard needs beyond the others: log search, history, files."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import Query, Request, Response
from starlette.responses import StreamingResponse

from berth.protocol.dashboard import GpuHistory, LogMarkers, LogMatches, RunFiles
from berth.protocol.jobs import JobPage
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.context import Context, context
from berth_server.api.routes.jobs import JobId
from berth_server.api.routes.logs import Number
from berth_server.service.errors import NotFound
from berth_server.service.gpus.telemetry import COARSE
from berth_server.service.jobs import lookup
from berth_server.service.jobs.present import show_jobs
from berth_server.service.logs.pages import log_file
from berth_server.service.logs.run_list import list_files
from berth_server.service.logs.search import search
from berth_server.service.scheduling.planning import latest_forecast
from berth_server.store import jobs

router = routing.router(prefix="/api/v1", tag="dashboard")

# Each search is a process of its own; more at once would cost the jobs their processors.
_SEARCHES = 2
_PIECE = 1 << 20
_limiters: dict[int, anyio.CapacityLimiter] = {}
_Points = Annotated[
    int, Query(ge=2, le=2000, description="Most entries; longer spans are thinned.")
]


@router.get("/queue", response_model=JobPage, summary="The queue in its order")
async def get_queue(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most jobs.")] = 200,
) -> Response:
    """Queued jobs, the next to start first. `GET /jobs` has them newest first."""
    server = context(request).server
    _, plan = latest_forecast(server)
    waiting = [job_id for job_id in plan.order if job_id not in plan.started]
    place = {job_id: i for i, job_id in enumerate(waiting[:limit])}
    records = sorted(jobs.by_ids(server.db.read, place), key=lambda job: place[job.id])
    page = JobPage.model_construct(jobs=show_jobs(server, records), next_cursor=None)
    return answer(page)


@router.get("/jobs/{job_id}/log/search", response_model=LogMatches, summary="Search the log")
async def search_log(
    request: Request,
    job_id: JobId,
    q: Annotated[str, Query(min_length=1, max_length=500, description="What to look for.")],
    attempt: Number = None,
    *,
    regex: Annotated[
        bool, Query(description="Read `q` as a regular expression, as Python's `re` does.")
    ] = False,
    cursor: Annotated[
        str | None, Query(max_length=40, description="`next` of the answer before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=5000, description="Most lines.")] = 1000,
) -> Response:
    """Matching lines, case not minded. Looks for about a second; `next` says where to go on."""
    log = log_file(context(request).server, job_id, attempt)

    def look() -> LogMatches:
        return search(log, q, regex=regex, cursor=cursor, limit=limit)

    limiter = _limiter()
    return answer(await anyio.to_thread.run_sync(look, limiter=limiter))


@router.get(
    "/jobs/{job_id}/log/download",
    summary="Download the whole log",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def download_log(request: Request, job_id: JobId, attempt: Number = None) -> Response:
    """Every byte written so far, as a file to keep."""
    log = log_file(context(request).server, job_id, attempt)
    handle = await anyio.to_thread.run_sync(log.open)
    if handle is None:
        raise NotFound(f"Job {job_id} has written no log yet.")
    size = os.fstat(handle).st_size
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="berth-{log.attempt}.log"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_bytes(handle, size), 200, headers, "application/octet-stream")


async def _bytes(handle: int, size: int) -> AsyncIterator[bytes]:
    try:
        place = 0
        while place < size:
            wanted = min(_PIECE, size - place)
            piece = await anyio.to_thread.run_sync(os.pread, handle, wanted, place)
            if not piece:
                return
            place += len(piece)
            yield piece
    finally:
        os.close(handle)


@router.get("/jobs/{job_id}/log/markers", response_model=LogMarkers, summary="Lines to jump to")
async def get_markers(request: Request, job_id: JobId, attempt: Number = None) -> Response:
    """The first traceback, the last checkpoint, and which ranks speak."""
    room = context(request)
    log = log_file(room.server, job_id, attempt)
    return answer(await anyio.to_thread.run_sync(room.markers.read, log))


@router.get("/jobs/{job_id}/files", response_model=RunFiles, summary="List the run directory")
async def get_files(request: Request, job_id: JobId, attempt: Number = None) -> Response:
    """Names, sizes and times; the log has a route of its own."""
    record = lookup.attempt(context(request).server.db.read, job_id, attempt)
    known = (None, None) if record is None else (record.id, record.run_dir)
    return answer(await anyio.to_thread.run_sync(list_files, *known))


@router.get("/gpus/history", response_model=GpuHistory, summary="All GPUs over time")
async def get_history(
    request: Request,
    minutes: Annotated[float, Query(gt=0, le=43_200, description="How far back.")] = 60,
    points: _Points = 120,
) -> Response:
    """Kept every 5 seconds for a day, every 2 minutes for 30 days."""
    room = context(request)
    now = room.server.clock()
    uuids = [gpu.uuid for gpu in room.server.known_gpus]
    return await _history(room, uuids, (now - minutes * 60, now), points)


@router.get("/jobs/{job_id}/gpu-history", response_model=GpuHistory, summary="A job's GPUs")
async def get_job_history(
    request: Request, job_id: JobId, attempt: Number = None, points: _Points = 600
) -> Response:
    """The GPUs of an attempt from its start to its end, or to now."""
    room = context(request)
    record = lookup.attempt(room.server.db.read, job_id, attempt)
    if record is None:
        raise NotFound(f"Job {job_id} has not started yet, so it has no history.")
    now = room.server.clock()
    end = record.ended_at or now
    start = max(record.started_at or record.created_at, end - COARSE.reach_s)
    uuids = [gpu[0] for gpu in json.loads(record.gpus)]
    return await _history(room, uuids, (start, end), points)


async def _history(
    room: Context, uuids: list[str], span: tuple[float, float], points: int
) -> Response:
    now = room.server.clock()

    def read() -> GpuHistory:
        return room.history.read(uuids, span, points, now=now)

    return answer(await anyio.to_thread.run_sync(read))


def _limiter() -> anyio.CapacityLimiter:
    # Made inside the event loop that uses it: tests run several.
    key = id(anyio.lowlevel.current_token())
    return _limiters.setdefault(key, anyio.CapacityLimiter(_SEARCHES))
