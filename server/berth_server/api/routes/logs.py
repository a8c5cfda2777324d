"""Routes of what an attempt wrote: its log, its metrics, its run directory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Literal, TypeVar

import anyio.to_thread
from fastapi import Depends, Query, Response
from fastapi import Path as FilePath
from starlette.responses import StreamingResponse

from berth.protocol.dashboard import FailureReport, LogMarkers, LogMatches, RunFiles
from berth.protocol.logs import LogLines
from berth.protocol.metrics import Metrics, RunCurves
from berth.units import parse_size
from berth_server.api import routing
from berth_server.api.context import App, By, Context, Server
from berth_server.api.routes.jobs import MAX_ID, JobId
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import NotFound
from berth_server.service.jobs import lookup
from berth_server.service.logs.failure import ended, report
from berth_server.service.logs.metrics import metrics_of, read_metrics
from berth_server.service.logs.pages import LogFile, log_file, read_bytes
from berth_server.service.logs.run_curves import Wanted
from berth_server.service.logs.run_list import list_files, open_own
from berth_server.service.logs.search import search

router = routing.router(prefix="/api/v1/jobs/{job_id}", tag="logs")

T = TypeVar("T")
_PIECE = 256 << 10
_BYTES = {200: {"content": {"application/octet-stream": {}}}}

Number = Annotated[
    int | None,
    Query(
        ge=1, le=MAX_ID, description="Number of the attempt; by default the newest.", examples=[1]
    ),
]


async def _log(server: Server, job_id: JobId, attempt: Number = None) -> LogFile:
    return log_file(server, job_id, attempt)


Log = Annotated[LogFile, Depends(_log)]
"""The log that `job_id` and `attempt` name; 404 where there is no such attempt."""


@router.get("/log", summary="Read bytes of the log", response_class=Response, responses={**_BYTES})
async def get_log(
    app: App,
    log: Log,
    job_id: JobId,
    offset: Annotated[
        int, Query(ge=-MAX_ID, le=MAX_ID, description="First byte; negative counts from the end.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=16 << 20, description="Maximum number of bytes.")] = 1
    << 20,
) -> Response:
    """
    Raw bytes of stdout and stderr. The headers describe them: `Berth-Log-Offset`,
    `Berth-Log-Size`, `Berth-Attempt`, `Berth-Log-Complete`.
    """
    limit = min(limit, parse_size(app.settings.log_answer_max))
    piece = await anyio.to_thread.run_sync(read_bytes, log, offset, limit)
    headers = {
        "Berth-Log-Offset": str(piece.offset),
        "Berth-Log-Size": str(piece.size),
        "Berth-Log-Complete": "true" if log.complete else "false",
        # Never a page of ours, whatever the job wrote into it.
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="berth-{log.attempt or job_id}.log"',
    }
    if log.attempt is not None:
        headers["Berth-Attempt"] = log.attempt
    return Response(piece.data, 200, headers, "application/octet-stream")


@router.get("/log/lines", summary="Read lines of the log")
async def get_lines(
    app: App,
    caller: By,
    log: Log,
    first: Annotated[
        int,
        Query(
            alias="from",
            ge=-MAX_ID,
            le=MAX_ID,
            description="Number of the first line, from 0; negative counts from the end.",
            examples=[-100],
        ),
    ] = 0,
    count: Annotated[int, Query(ge=1, le=10_000, description="Maximum number of lines.")] = 1000,
    *,
    as_shown: Annotated[
        bool, Query(description="Only what a terminal shows of a line that overwrites itself.")
    ] = False,
    times: Annotated[bool, Query(description="Return the time of each line as well.")] = False,
) -> LogLines:
    """Lines of text; those longer than 64 KiB are cut."""

    def read() -> LogLines:
        return app.lines.read(
            log, first, count, as_shown=as_shown, times=times, most_bytes=most_bytes
        )

    most_bytes = parse_size(app.settings.log_answer_max)
    return await _reading(app, caller, read)


@router.get("/log/search", summary="Search the log")
async def search_log(
    app: App,
    caller: By,
    log: Log,
    q: Annotated[str, Query(min_length=1, max_length=500, description="Text to look for.")],
    *,
    regex: Annotated[
        bool, Query(description="Read `q` as a regular expression, as Python's `re` does.")
    ] = False,
    cursor: Annotated[
        str | None, Query(max_length=40, description="`next` of the previous answer.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=5000, description="Maximum number of lines.")] = 1000,
) -> LogMatches:
    """Matching lines, case-insensitive. Searches for about a second; `next` continues."""

    def look() -> LogMatches:
        return search(log, q, regex=regex, cursor=cursor, limit=limit)

    return await _reading(app, caller, look)


@router.get("/log/markers", summary="Find the lines worth jumping to")
async def get_markers(app: App, caller: By, log: Log) -> LogMarkers:
    """The first traceback, the last checkpoint, and which ranks write."""
    return await _reading(app, caller, lambda: app.markers.read(log))


@router.get(
    "/log/download",
    summary="Download the whole log",
    response_class=Response,
    responses={**_BYTES},
)
async def download_log(log: Log, job_id: JobId) -> Response:
    """Every byte written so far, as a file to keep."""
    handle = await anyio.to_thread.run_sync(log.open)
    if handle is None:
        raise NotFound(f"Job {job_id} has not written a log yet.")
    size = os.fstat(handle).st_size
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="berth-{log.attempt}.log"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_bytes(handle, size), 200, headers, "application/octet-stream")


@router.get("/metrics", summary="Show the metrics of a run")
async def get_metrics(
    app: App,
    caller: By,
    job_id: JobId,
    attempt: Number = None,
    max_points: Annotated[
        int,
        Query(ge=1, le=20_000, description="Maximum number of points; longer curves are thinned."),
    ] = 2000,
) -> Metrics:
    """From `metrics.jsonl` of the run directory; without that from lines of the log."""
    record, uid = metrics_of(app.server, job_id, attempt)
    return await _reading(app, caller, lambda: read_metrics(job_id, record, uid, max_points))


async def _wanted(
    *,
    points: Annotated[
        int, Query(ge=5, le=20_000, description="Maximum number of points of each metric.")
    ] = 500,
    name: Annotated[
        list[str] | None, Query(max_length=500, description="Metric to send; default: all.")
    ] = None,
    first: Annotated[
        float | None, Query(alias="from", allow_inf_nan=False, description="Begin of the range.")
    ] = None,
    last: Annotated[
        float | None, Query(alias="to", allow_inf_nan=False, description="End of the range.")
    ] = None,
    by: Annotated[
        Literal["step", "time"],
        Query(description="What the range is in; with `time` the points have times too."),
    ] = "step",
    after: Annotated[
        str | None, Query(max_length=80, description="`after` of an earlier answer.")
    ] = None,
) -> Wanted:
    return Wanted(
        points=points, names=name, first=first, last=last, by_time=by == "time", after=after
    )


@router.get("/curves", summary="Show the curves of a run")
async def get_curves(
    app: App,
    caller: By,
    job_id: JobId,
    want: Annotated[Wanted, Depends(_wanted)],
    attempt: Number = None,
) -> RunCurves:
    """
    By metric, thinned to the extremes: of each stretch the least and the greatest value and
    the first gap are kept. Ask again for a shorter range to see all of it. With `after` only what
    is new comes, unless `whole` says that the run has written earlier steps again.
    """
    record, uid = metrics_of(app.server, job_id, attempt)
    return await _reading(app, caller, lambda: app.curves.read(job_id, record, uid, want))


@router.get("/failure", summary="Show a failure on one page")
async def get_failure(app: App, caller: By, log: Log, job_id: JobId) -> FailureReport:
    """
    First traceback, last lines of each rank, and the difference to the last success of the same
    name. `gpu-history?last_s=120` has the GPUs before the end.
    """
    found = ended(app.server, job_id)
    return await _reading(app, caller, lambda: report(found, log, app.lines, app.markers))


@router.get(
    "/files/{name:path}",
    summary="Read a file that the job wrote",
    response_class=Response,
    responses={**_BYTES},
)
async def get_file(
    server: Server,
    caller: By,
    log: Log,
    job_id: JobId,
    name: Annotated[
        str, FilePath(max_length=300, description="Name from the list of files, like `files/a`.")
    ],
) -> Response:
    """A file of the job's own folder, for its owner and admins. The log has its own path."""
    caller.may_read_code(lookup.job(server.db.read, job_id))
    handle = await anyio.to_thread.run_sync(open_own, log.run_dir, name, log.uid)
    if handle is None:
        raise NotFound(f"Job {job_id} has no file {name!r}; choose a name from its list of files.")
    size = os.fstat(handle).st_size
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": "attachment",
        # Never a page of ours, whatever the job wrote.
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_bytes(handle, size), 200, headers, "application/octet-stream")


@router.get("/files", summary="List the run directory")
async def get_files(log: Log) -> RunFiles:
    """Names, sizes and times; the log has a route of its own."""
    return await anyio.to_thread.run_sync(list_files, log.attempt, log.run_dir)


async def _reading(app: Context, caller: Caller, read: Callable[[], T]) -> T:
    """Read a whole file on a thread, when it is the caller's turn."""
    async with app.reading.turn(caller.uid):
        return await anyio.to_thread.run_sync(read)


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
