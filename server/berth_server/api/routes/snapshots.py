"""Routes of a job's frozen code: its difference to the commit, and its archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Response
from starlette.responses import StreamingResponse

from berth_server.api import routing
from berth_server.api.context import By, Server
from berth_server.api.routes.jobs import JobId
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import NotFound
from berth_server.service.jobs import lookup
from berth_server.service.jobs.freeze_code import diff_of, pieces
from berth_server.service.jobs.show import snapshot_of

router = routing.router(prefix="/api/v1/jobs", tag="jobs")


async def _archive(server: Server, caller: By, job_id: JobId) -> Path:
    record = lookup.job(server.db.read, job_id)
    code = snapshot_of(record)
    if code is None:
        raise NotFound(f"Job {job_id} was submitted without 'snapshot', so its code was not kept.")
    # Code may be private, unlike what a job writes into its log.
    caller.may_read_code(record)
    archive = server.options.freezer.path(code.digest, record.uid)
    if not archive.is_file():
        raise NotFound(f"The archive of job {job_id} is missing from BERTH_HOME/snapshots.")
    return archive


Archive = Annotated[Path, Depends(_archive)]


@router.get(
    "/{job_id}/snapshot/diff",
    summary="Show how a job's code differs from its commit",
    response_class=Response,
    responses={200: {"content": {"text/x-diff": {}}}},
)
async def get_diff(server: Server, archive: Archive, job_id: JobId) -> Response:
    """As `git diff --binary`, new files included; empty where nothing differed. For its owner."""
    job = lookup.job(server.db.read, job_id)
    owner = Caller(job.uid, job.user)
    body = await anyio.to_thread.run_sync(diff_of, archive, owner)
    return Response(body, 200, _named(f"berth-{job_id}.diff"), "text/x-diff; charset=utf-8")


@router.get(
    "/{job_id}/snapshot/archive",
    summary="Download a job's code",
    response_class=Response,
    responses={200: {"content": {"application/x-tar": {}}}},
)
async def get_archive(archive: Archive, job_id: JobId) -> Response:
    """A tar with `snapshot.json`, `changes.diff` and the files below `tree/`. For its owner."""
    headers = _named(f"berth-{job_id}.tar")
    return StreamingResponse(pieces(archive), 200, headers, "application/x-tar")


def _named(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }
