"""Routes of the worker: what should be, what is."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query, Request, Response

from berth.protocol.internal import DesiredState, WorkerReport
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.bodies import body_of, described
from berth_server.api.context import context
from berth_server.service.attempts.report import on_report

router = routing.router(prefix="/internal/v1", tag="internal")


@router.get("/desired", response_model=DesiredState, summary="What the worker should be busy with")
async def desired(
    request: Request,
    after: Annotated[
        int | None, Query(description="The last generation seen; unknown ones answer at once.")
    ] = None,
    wait_s: Annotated[
        float, Query(ge=0, le=300, description="Hold the request for so long, seconds.")
    ] = 0.0,
) -> Response:
    """Answered the moment the generation is another than `after`, at the latest after `wait_s`."""
    room = context(request)
    board = room.server.cache
    if after == board.generation and wait_s > 0 and not room.closing.is_set():
        changed = asyncio.Event()
        stop = room.server.on_desired.listen(changed.set)
        stop_closing = room.on_closing.listen(changed.set)
        try:
            async with asyncio.timeout(wait_s):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            stop()
            stop_closing()
    return answer(board.desired_state())


@router.post(
    "/report",
    status_code=204,
    summary="What the worker sees",
    openapi_extra=described(WorkerReport),
)
async def report(request: Request) -> Response:
    """Idempotent: what is known already changes nothing."""
    on_report(context(request).server, await body_of(request, WorkerReport))
    return Response(status_code=204)
