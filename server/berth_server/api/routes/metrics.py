"""The route of what a run measured."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Query, Request, Response

from berth.protocol.metrics import Metrics
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.context import context
from berth_server.api.routes.jobs import JobId
from berth_server.api.routes.logs import Number
from berth_server.service.logs.metrics import metrics_of, read_metrics

router = routing.router(prefix="/api/v1", tag="metrics")


@router.get("/jobs/{job_id}/metrics", response_model=Metrics, summary="The curve of a run")
async def get_metrics(
    request: Request,
    job_id: JobId,
    attempt: Number = None,
    max_points: Annotated[
        int, Query(ge=1, le=20_000, description="Most points; longer curves are thinned evenly.")
    ] = 2000,
) -> Response:
    """From `metrics.jsonl` of the run directory; without that from lines of the log."""
    record, uid = metrics_of(context(request).server, job_id, attempt)
    return answer(await anyio.to_thread.run_sync(read_metrics, job_id, record, uid, max_points))
