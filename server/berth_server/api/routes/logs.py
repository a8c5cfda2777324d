"""Routes of an attempt's log."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Query, Request, Response

from berth.protocol.logs import LogLines
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.context import context
from berth_server.api.routes.jobs import MAX_ID, JobId
from berth_server.service.logs.pages import log_file, read_bytes

router = routing.router(prefix="/api/v1/jobs/{job_id}/log", tag="logs")

Number = Annotated[
    int | None,
    Query(ge=1, le=MAX_ID, description="Number of the attempt; the newest without.", examples=[1]),
]


@router.get(
    "",
    summary="Read bytes of the log",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def get_log(
    request: Request,
    job_id: JobId,
    attempt: Number = None,
    offset: Annotated[
        int, Query(ge=-MAX_ID, le=MAX_ID, description="First byte; negative counts from the end.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=16 << 20, description="Most bytes.")] = 1 << 20,
) -> Response:
    """
    Raw bytes of stdout and stderr. The headers tell where they lie: `Berth-Log-Offset`,
    `Berth-Log-Size`, `Berth-Attempt`, `Berth-Log-Complete`.
    """
    log = log_file(context(request).server, job_id, attempt)
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


@router.get("/lines", response_model=LogLines, summary="Read lines of the log")
async def get_lines(
    request: Request,
    job_id: JobId,
    attempt: Number = None,
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
    count: Annotated[int, Query(ge=1, le=10_000, description="Most lines.")] = 1000,
    *,
    as_shown: Annotated[
        bool, Query(description="Only what a terminal shows of a line that writes over itself.")
    ] = False,
) -> Response:
    """Lines of text; those longer than 64 KiB are cut."""
    room = context(request)
    log = log_file(room.server, job_id, attempt)

    def read() -> LogLines:
        return room.lines.read(log, first, count, as_shown=as_shown)

    return answer(await anyio.to_thread.run_sync(read))
