"""Routes that only the dashboard needs: the queue in its order, the GPUs over time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, Query, Response

from berth.protocol.dashboard import BoxPlan, GpuHistory
from berth.protocol.jobs import JobPage
from berth.units import parse_duration
from berth_server.api import routing
from berth_server.api.context import App, By, Context
from berth_server.api.routes.jobs import MAX_ID, JobId
from berth_server.api.routes.logs import Number
from berth_server.core.forecast import plan_with_forecast
from berth_server.core.model import Snapshot
from berth_server.service.errors import Invalid, NotFound
from berth_server.service.gpus.telemetry import COARSE
from berth_server.service.jobs import lookup
from berth_server.service.jobs.show import show_jobs
from berth_server.service.scheduling.box_plan import show_plan, with_history
from berth_server.service.scheduling.planning import latest_forecast
from berth_server.service.scheduling.what_if import pending, tried
from berth_server.store import jobs

router = routing.router(prefix="/api/v1", tag="dashboard")
_QUEUE_BYTES = 4 << 20

_Points = Annotated[
    int,
    Query(ge=2, le=2000, description="Maximum number of entries; longer spans are thinned."),
]


@router.get("/queue", summary="List the queue in its order", response_model=JobPage)
async def get_queue(
    app: App,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of jobs.")] = 200,
) -> Response:
    """Queued jobs, the next to start first. `GET /jobs` has the newest first."""
    server = app.server
    _, plan = latest_forecast(server)
    # Every open page asks for the same list at the same event: it is made once.
    made_of = (server.forecast and server.forecast.made_at, server.cache.version, limit)
    known = app.queue
    if known is None or known[0] != made_of:
        waiting = [job_id for job_id in plan.order if job_id not in plan.started]
        records = jobs.first_of(server.db.read, waiting[:limit], _QUEUE_BYTES)
        page = JobPage.model_construct(jobs=show_jobs(server, records), next_cursor=None)
        known = app.queue = (made_of, page.model_dump_json().encode())
    return Response(known[1], media_type="application/json")


async def _trial(
    app: App,
    *,
    job: Annotated[
        int | None,
        Query(ge=1, le=MAX_ID, description="Plan with the changes below to this waiting job."),
    ] = None,
    gpus: Annotated[
        int | None, Query(ge=1, le=1024, description="With `job`: its number of GPUs.")
    ] = None,
    time_limit: Annotated[
        str | None,
        Query(
            max_length=40,
            description="With `job`: its time limit; `none` for none.",
            examples=["12h"],
        ),
    ] = None,
) -> Snapshot | None:
    if job is None:
        return None
    changes: dict[str, Any] = {} if gpus is None else {"gpus": gpus}
    if time_limit is not None:
        try:
            changes["time_limit"] = None if time_limit == "none" else parse_duration(time_limit)
        except ValueError as error:
            raise Invalid(str(error), "time_limit") from None
    return tried(app.server, pending(app.server, job), changes)


@router.get("/plan", summary="Show the berth plan, also as a dry run")
async def get_plan(
    app: App,
    caller: By,
    trial: Annotated[Snapshot | None, Depends(_trial)],
    back: Annotated[float, Query(gt=0, le=720, description="Hours of the past.")] = 48,
    ahead: Annotated[float, Query(gt=0, le=720, description="Hours of the future.")] = 48,
) -> BoxPlan:
    """
    Every GPU over time: past leases with the utilisation, running jobs to their expected end and
    their limit, queued jobs on the GPUs that the scheduler expects for them, reservations, drains.

    With `job`: the plan that another number of GPUs or another time limit of that job would
    make. Nothing is changed.
    """
    made = None
    if trial is not None:
        policy = app.server.options.policy
        async with app.reading.turn(caller.uid):
            plan = await anyio.to_thread.run_sync(plan_with_forecast, trial, policy)
        made = trial, plan
    span = timedelta(hours=back), timedelta(hours=ahead)
    shown = show_plan(app.server, caller.user, *span, made)
    return await anyio.to_thread.run_sync(with_history, shown, app.telemetry)


@router.get("/gpus/history", summary="Show all GPUs over time")
async def get_history(
    app: App,
    minutes: Annotated[float, Query(gt=0, le=43_200, description="Length of the past.")] = 60,
    points: _Points = 120,
) -> GpuHistory:
    """Kept every 5 seconds for a day, every 2 minutes for 30 days."""
    now = app.server.clock()
    uuids = [gpu.uuid for gpu in app.server.known_gpus]
    return await _history(app, uuids, (now - minutes * 60, now), points)


@router.get("/jobs/{job_id}/gpu-history", summary="Show a job's GPUs over time")
async def get_job_history(
    app: App,
    job_id: JobId,
    attempt: Number = None,
    points: _Points = 600,
    last_s: Annotated[
        float | None,
        Query(gt=0, le=2_592_000, description="Only this many seconds before the end."),
    ] = None,
) -> GpuHistory:
    """The GPUs of an attempt from its start to its end, or until now."""
    record = lookup.attempt(app.server.db.read, job_id, attempt)
    if record is None:
        raise NotFound(f"Job {job_id} has not started yet, so it has no history.")
    end = record.ended_at or app.server.clock()
    reach_s = COARSE.reach_s if last_s is None else min(last_s, COARSE.reach_s)
    start = max(record.started_at or record.created_at, end - reach_s)
    uuids = [gpu[0] for gpu in json.loads(record.gpus)]
    return await _history(app, uuids, (start, end), points)


async def _history(
    app: Context, uuids: list[str], span: tuple[float, float], points: int
) -> GpuHistory:
    now = app.server.clock()

    def read() -> GpuHistory:
        return app.telemetry.read(uuids, span, points, now=now)

    return await anyio.to_thread.run_sync(read)
