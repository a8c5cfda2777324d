"""Routes of jobs: list, show, change, explain."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated

from fastapi import Path, Query, Request, Response

from berth.protocol.explain import Explanation
from berth.protocol.jobs import Job, JobCounts, JobPage, JobPatch
from berth.protocol.states import JobState
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.bodies import body_of, described, no_body
from berth_server.api.context import caller, context
from berth_server.api.problems import Wrong
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs import lookup
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.jobs.hold import on_hold, on_release
from berth_server.service.jobs.patch import on_patch
from berth_server.service.jobs.present import show_job, show_jobs
from berth_server.service.jobs.retry import on_retry
from berth_server.service.scheduling.explain import explain_job
from berth_server.service.state import ServerState
from berth_server.store import jobs

router = routing.router(prefix="/api/v1/jobs", tag="jobs")

MAX_ID = 2**63 - 1
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
        description="Put it beside this job; default: the one just ahead.",
        examples=[41],
    ),
]
_User = Annotated[str | None, Query(description="Only jobs of this user.", examples=["ada"])]
_Labels = Annotated[
    list[str],
    Query(
        description="Only jobs with this label, `key=value`; with several all must hold.",
        examples=[["ablation=history"]],
    ),
]


@router.get("", response_model=JobPage, summary="List jobs, newest first")
async def list_jobs(
    request: Request,
    state: _States = [],  # noqa: B006 - FastAPI copies it
    user: _User = None,
    label: _Labels = [],  # noqa: B006 - as above
    q: Annotated[
        str | None,
        Query(max_length=200, description="Only jobs with this in name, command or script, or id."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most jobs on the page.")] = 50,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", max_length=100)
    ] = None,
) -> Response:
    """One page of jobs. Pass `next_cursor` as `cursor` for the next; it is absent on the last."""
    server = context(request).server
    records = jobs.page(
        server.db.read,
        states=_states(state),
        user=user,
        labels=_pairs(label),
        text=q or None,
        below=None if cursor is None else _decode(cursor),
        limit=limit + 1,
    )
    more = len(records) > limit
    records = records[:limit]
    page = JobPage.model_construct(
        jobs=show_jobs(server, records),
        next_cursor=_encode(records[-1].id) if more else None,
    )
    return answer(page)


@router.get("/counts", response_model=JobCounts, summary="How many jobs are in each state")
async def count_jobs(
    request: Request,
    user: _User = None,
    label: _Labels = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Every state is there, with 0 where no job is in it."""
    found = jobs.counts(context(request).server.db.read, user=user, labels=_pairs(label))
    return answer(JobCounts(counts={state: found.get(state.value, 0) for state in JobState}))


@router.get("/{job_id}", response_model=Job, summary="Show a job with its attempts")
async def get_job(request: Request, job_id: JobId) -> Response:
    """The job as it is now."""
    return _job(context(request).server, job_id)


@router.patch(
    "/{job_id}",
    response_model=Job,
    summary="Change a job that has not started",
    openapi_extra=described(JobPatch),
)
async def patch_job(request: Request, job_id: JobId) -> Response:
    """Set name, priority or time limit; what is left out stays. `time_limit: null` lifts it."""
    patch = await body_of(request, JobPatch)
    server = context(request).server
    on_patch(server, caller(request), job_id, patch)
    return _job(server, job_id)


@router.get("/{job_id}/explain", response_model=Explanation, summary="Why a job is where it is")
async def explain(request: Request, job_id: JobId, against: _Against = None) -> Response:
    """
    What it waits for, who is on the GPUs it needs, when it should start, what would help; in line
    also its points, and why another job is before it or after it.
    """
    return answer(explain_job(context(request).server, job_id, against))


@router.post("/{job_id}/cancel", response_model=Job, summary="Cancel a job")
async def cancel(request: Request, job_id: JobId) -> Response:
    """A pending job ends at once; a running one gets TERM, its grace, then KILL."""
    return await _act(request, job_id, on_cancel)


@router.post("/{job_id}/hold", response_model=Job, summary="Hold a pending job")
async def hold(request: Request, job_id: JobId) -> Response:
    """It does not start until it is released."""
    return await _act(request, job_id, on_hold)


@router.post("/{job_id}/release", response_model=Job, summary="Release a held job")
async def release(request: Request, job_id: JobId) -> Response:
    """It starts when its turn comes."""
    return await _act(request, job_id, on_release)


@router.post("/{job_id}/retry", response_model=Job, summary="Queue an ended job again")
async def retry(request: Request, job_id: JobId) -> Response:
    """It gets another attempt under its own id, with all its retries."""
    return await _act(request, job_id, on_retry)


async def _act(
    request: Request, job_id: int, event: Callable[[ServerState, Caller, int], None]
) -> Response:
    await no_body(request)
    server = context(request).server
    event(server, caller(request), job_id)
    return _job(server, job_id)


def _job(server: ServerState, job_id: int) -> Response:
    return answer(show_job(server, lookup.job(server.db.read, job_id)))


def _states(values: list[str]) -> list[str]:
    known = {state.value for state in JobState}
    wanted = [state for value in values for state in value.split(",") if state]
    for state in wanted:
        if state not in known:
            raise Wrong(422, f"There is no state {state!r}; the states are {', '.join(JobState)}.")
    return list(dict.fromkeys(wanted))


def _pairs(values: list[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not key or not equals:
            raise Wrong(422, f"{value!r} is not a label; write key=value.")
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
        raise Wrong(422, "This cursor is not one of this server's; start again without one.")
    return job_id
