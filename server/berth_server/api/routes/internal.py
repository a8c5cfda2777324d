"""Routes of the worker: desired state out, observed state in."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query, Request

from berth.protocol.internal import DesiredState, WorkerReport
from berth_server.api import routing
from berth_server.api.bodies import JsonBody
from berth_server.api.context import context_of
from berth_server.service.attempts.report import on_report

router = routing.router(prefix="/internal/v1", tag="internal")


@router.get("/desired", summary="Get the attempts that should be running")
async def desired(
    request: Request,
    after: Annotated[
        int | None, Query(description="The last generation seen; unknown ones answer at once.")
    ] = None,
    wait_s: Annotated[
        float, Query(ge=0, le=300, description="How long to hold the request, seconds.")
    ] = 0.0,
) -> DesiredState:
    """Answers as soon as the generation differs from `after`, at the latest after `wait_s`."""
    app = context_of(request)
    cache = app.server.cache
    if after == cache.generation and wait_s > 0 and not app.closing.is_set():
        changed = asyncio.Event()
        stop = app.server.on_desired.listen(changed.set)
        stop_closing = app.on_closing.listen(changed.set)
        try:
            async with asyncio.timeout(wait_s):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            stop()
            stop_closing()
    return cache.desired_state()


@router.post("/report", status_code=204, summary="Report what the worker observes")
async def report(request: Request, observed: JsonBody[WorkerReport]) -> None:
    """Idempotent: a repeated report changes nothing."""
    on_report(context_of(request).server, observed)
