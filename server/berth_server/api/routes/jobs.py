"""Routes of jobs: list, show, change, explain."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import Depends, Path, Query

from berth.protocol.explain import Explanation
from berth.protocol.jobs import Job, JobCounts, JobPage, JobPatch
from berth.protocol.states import JobState
from berth.protocol.submits import Execution, ExecutionStarted, WhatIf
from berth_server.api import routing
from berth_server.api.bodies import JsonBody, no_body
from berth_server.api.context import App, By, Server
from berth_server.api.problems import ApiError
from berth_server.service.jobs import lookup
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.jobs.execute import on_execute
from berth_server.service.jobs.hold import on_hold, on_release
from berth_server.service.jobs.patch import on_patch
from berth_server.service.jobs.retry import on_retry
from berth_server.service.jobs.show import show_job, show_jobs
from berth_server.service.scheduling.explain import explain_job
from berth_server.service.scheduling.what_if import options, pending, starts
from berth_server.service.state import ServerState
from berth_server.store import jobs
from berth_server.store.sorted_jobs import Order, sorted_page

router = routing.router(prefix="/api/v1/jobs", tag="jobs")

MAX_ID = 2**63 - 1
_PAGE_BYTES = 4 << 20
_PIECE = 50
JobId = Annotated[int, Path(ge=1, le=MAX_ID, description="Id of the job.", examples=[42])]
_States = Annotated[
    list[str],
    Query(
        description="Only jobs in these states; repeat it, or separate by commas.",
        examples=[["queued", "running"]],
    ),
]
_Against = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_ID,
        description="Compare it with this job; by default the one just ahead.",
        examples=[41],
    ),
]
SortColumn = Literal[
    "id",
    "name",
    "user",
    "state",
    "outcome",
    "gpus",
    "priority",
    "ended",
    "ran",
    "gpu_hours",
    "energy",
    "idle",
]
_ASCENDING = {"name", "user", "state", "outcome"}
_User = Annotated[str | None, Query(description="Only jobs of this user.", examples=["ada"])]
_Labels = Annotated[
    list[str],
    Query(
        description="Only jobs with this label, `key=value`; with several all must hold.",
        examples=[["ablation=history"]],
    ),
]


async def _filter(
    state: _States = [],  # noqa: B006 - FastAPI copies it
    user: _User = None,
    label: _Labels = [],  # noqa: B006 - as above
    q: Annotated[
        str | None,
        Query(max_length=200, description="Only jobs with this in name, command or script, or id."),
    ] = None,
) -> jobs.Filter:
    return jobs.Filter(tuple(_states(state)), user, tuple(_pairs(label)), q or None)


@router.get("", summary="List jobs, newest first or in another order")
async def list_jobs(
    server: Server,
    wanted: Annotated[jobs.Filter, Depends(_filter)],
    *,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of jobs.")] = 50,
    sort: Annotated[
        SortColumn,
        Query(
            description="Sort key; `id` is the order of submission. Jobs without the value come last."
        ),
    ] = "id",
    order: Annotated[
        Literal["desc", "asc"] | None,
        Query(description="Direction; default: `asc` for names, users and states, else `desc`."),
    ] = None,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the previous page.", max_length=100)
    ] = None,
) -> JobPage:
    """
    One page of jobs. Pass `next_cursor` as `cursor` for the next, with the same order; it is null
    on the last. A page of jobs with long scripts or environments ends early.
    """
    place = None if cursor is None else _decode(cursor)
    down = order == "desc" if order else sort not in _ASCENDING
    if sort == "id" and down:
        records, more = jobs.bounded_page(
            server.db.read, wanted, below=place, limit=limit, most_bytes=_PAGE_BYTES
        )
        following = records[-1].id if more else 0
    else:
        records, more = sorted_page(
            server.db.read,
            wanted,
            order=Order(sort, down),
            now=server.clock(),
            offset=place or 0,
            limit=limit,
            most_bytes=_PAGE_BYTES,
        )
        following = (place or 0) + len(records)
    shown: list[Job] = []
    for start in range(0, len(records), _PIECE):
        if start:
            await asyncio.sleep(0)  # others are answered in between
        shown += show_jobs(server, records[start : start + _PIECE])
    return JobPage.model_construct(
        jobs=shown,
        next_cursor=_encode(following) if more else None,
    )


@router.get("/counts", summary="Count the jobs in each state")
async def count_jobs(
    server: Server,
    user: _User = None,
    label: _Labels = [],  # noqa: B006 - FastAPI copies it
) -> JobCounts:
    """All states, also those without a job."""
    found = jobs.counts(server.db.read, user=user, labels=_pairs(label))
    return JobCounts(counts={state: found.get(state.value, 0) for state in JobState})


@router.get("/{job_id}", summary="Show a job with its attempts")
async def get_job(server: Server, job_id: JobId) -> Job:
    """The job as it is now."""
    return _job(server, job_id)


@router.patch("/{job_id}", summary="Change a job that has not started")
async def patch_job(server: Server, caller: By, job_id: JobId, patch: JsonBody[JobPatch]) -> Job:
    """Set what it asks for; omitted fields stay. `time_limit: null` removes the limit."""
    on_patch(server, caller, job_id, patch)
    return _job(server, job_id)


@router.get("/{job_id}/explain", summary="Explain why a job waits")
async def explain(server: Server, job_id: JobId, against: _Against = None) -> Explanation:
    """
    Explain its state: what it waits for, who holds its GPUs, when it starts, what would help; for
    a queued job also its score, and why another job is before or after it.
    """
    return explain_job(server, job_id, against)


@router.get("/{job_id}/what-if", summary="Compare when variants of a waiting job would start")
async def what_if(app: App, caller: By, job_id: JobId) -> WhatIf:
    """
    Expected start of the job, and that with other numbers of GPUs, other time limits, as a share or
    preemptible, one change at a time. The job is not changed.
    """
    record = pending(app.server, job_id)
    needed = jobs.dependencies(app.server.db.read, [job_id]).get(job_id, [])
    seen, found = options(app.server, record, needed)
    policy = app.server.options.policy
    async with app.reading.turn(caller.uid):
        return await anyio.to_thread.run_sync(starts, seen, found, policy)


@router.post("/{job_id}/cancel", summary="Cancel a job", dependencies=[Depends(no_body)])
async def cancel(server: Server, caller: By, job_id: JobId) -> Job:
    """A pending job ends at once; a running one gets TERM, its grace, then KILL."""
    on_cancel(server, caller, job_id)
    return _job(server, job_id)


@router.post("/{job_id}/hold", summary="Hold a pending job", dependencies=[Depends(no_body)])
async def hold(server: Server, caller: By, job_id: JobId) -> Job:
    """It does not start until it is released."""
    on_hold(server, caller, job_id)
    return _job(server, job_id)


@router.post("/{job_id}/release", summary="Release a held job", dependencies=[Depends(no_body)])
async def release(server: Server, caller: By, job_id: JobId) -> Job:
    """It starts when its turn comes."""
    on_release(server, caller, job_id)
    return _job(server, job_id)


@router.post("/{job_id}/exec", summary="Run a command beside a running job")
async def execute(
    server: Server, caller: By, job_id: JobId, asked: JsonBody[Execution]
) -> ExecutionStarted:
    """
    It runs in the job's fence, as its user, counts to the job and ends with it. Only the job's
    user may; its bytes are exchanged on a unix socket of the box.
    """
    return on_execute(server, caller, job_id, asked)


@router.post("/{job_id}/retry", summary="Queue an ended job again", dependencies=[Depends(no_body)])
async def retry(server: Server, caller: By, job_id: JobId) -> Job:
    """It gets another attempt under its own id, with all its retries."""
    on_retry(server, caller, job_id)
    return _job(server, job_id)


def _job(server: ServerState, job_id: int) -> Job:
    return show_job(server, lookup.job(server.db.read, job_id))


def _states(values: list[str]) -> list[str]:
    known = {state.value for state in JobState}
    wanted = [state for value in values for state in value.split(",") if state]
    for state in wanted:
        if state not in known:
            raise ApiError(
                422, f"There is no state {state!r}; the states are {', '.join(JobState)}."
            )
    return list(dict.fromkeys(wanted))


def _pairs(values: list[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not key or not equals:
            raise ApiError(422, f"{value!r} is not a label; write key=value.")
        pairs.append((key, rest))
    return pairs


def _encode(job_id: int) -> str:
    return base64.urlsafe_b64encode(b"b%d" % job_id).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        job_id = int(text.removeprefix("b"))
    except ValueError:
        job_id = -1
    if not 0 <= job_id <= MAX_ID:
        raise ApiError(422, "Invalid cursor; start again without one.")
    return job_id
