"""Routes that submit jobs, or check what a submit would do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import anyio.to_thread
from fastapi import Header, Request, Response
from pydantic import TypeAdapter, ValidationError

from berth.protocol.jobs import Job
from berth.protocol.specs import JobSpec
from berth.protocol.submits import DryRun, ParsedText, SubmittedJobs, TextToParse, WhatIf
from berth_server.api import routing
from berth_server.api.bodies import JsonBody
from berth_server.api.context import App, By, Context, caller_of, context_of
from berth_server.api.job_list import pieces
from berth_server.api.problems import ApiError, invalid_body
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid
from berth_server.service.jobs import check, lengths, lookup
from berth_server.service.jobs.check import Prepared
from berth_server.service.jobs.dry_run import dry_run, would_be
from berth_server.service.jobs.parse_text import parse_text
from berth_server.service.jobs.permissions import Access
from berth_server.service.jobs.show import show_job, show_jobs
from berth_server.service.jobs.submit import at_position, may_submit, on_submit, repeated
from berth_server.service.scheduling.what_if import options, starts
from berth_server.service.state import ServerState
from berth_server.store import jobs

router = routing.router(prefix="/api/v1/jobs", tag="jobs")

# A hanging network disk must not keep the submitter waiting for ever.
_CHECK_TIMEOUT_S = 5.0
# Jobs shown without a pause for other requests.
_PIECE = 50
# A body that is read faster than a thread is found.
_SHORT = 64 << 10
# Warnings are worth this much waiting; later ones serve the next submit.
_WARNINGS_TIMEOUT_S = 1.5
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Makes the submit safe to repeat: the same key gives the same jobs.",
    ),
]
_SPECS = TypeAdapter(list[JobSpec])
_SPEC = {"$ref": "#/components/schemas/JobSpec"}


@router.post(
    "",
    status_code=201,
    response_model=Job | list[Job] | SubmittedJobs,
    summary="Submit a job, or a list of jobs",
    # One or a list: a union would report the problems of both, so `parse_specs` reads it.
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_SPEC, {"type": "array", "minItems": 1, "items": _SPEC}]}
                }
            },
        }
    },
)
async def submit(
    request: Request,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str,
        Header(alias="Prefer", description="`return=minimal` answers a list with its ids alone."),
    ] = "",
) -> Job | SubmittedJobs | Response:
    """
    Submit jobs, all or none. They are on disk when this answers, and those that can have
    started. A list is answered with a list in the same order.
    """
    app, caller, raw = context_of(request), caller_of(request), await request.body()
    if not raw.lstrip().startswith(b"["):
        return await _submit(app, caller, raw, idempotency_key, prefer)
    async with app.writing.turn(caller.uid):
        return await _submit(app, caller, raw, idempotency_key, prefer)


async def _submit(
    app: Context, caller: Caller, raw: bytes, idempotency_key: str | None, prefer: str
) -> Job | SubmittedJobs | Response:
    server = app.server
    # Reading thousands of jobs takes the interpreter for a while: not at a stretch.
    bounds = app.settings.jobs_per_submit, app.job_bytes
    if len(raw) < _SHORT:
        specs, many = parse_specs(raw, *bounds)
    else:
        specs, many = await anyio.to_thread.run_sync(parse_specs, raw, *bounds)
    done = repeated(server, caller, idempotency_key, raw)
    if done is None:
        may_submit(server, caller)
        prepared = await check_specs(app, specs, caller, many=many)
        if any(spec.snapshot for spec in specs):
            prepared = await freeze_code(app, prepared, caller)
        # The same key may have come while the folders were checked.
        done = repeated(server, caller, idempotency_key, raw) or on_submit(
            server, caller, prepared, many=many, key=idempotency_key, body=raw
        )
        await asyncio.sleep(0)  # the worker gets its work before we render an answer
        warnings = list(dict.fromkeys(w for one in prepared for w in one.warnings))
    else:
        warnings = []
    if many and "return=minimal" in prefer:
        said = [str(warning) for warning in warnings]
        return SubmittedJobs(ids=list(done.ids), warnings=said, warnings_parts=warnings)
    if not many:
        return show_job(server, lookup.job(server.db.read, done.first_id))
    return Response(await _shown(server, done.ids), 201, media_type="application/json")


async def _shown(server: ServerState, ids: Sequence[int]) -> bytes:
    """Return jobs as JSON, made a few at a time so that others are answered in between."""
    parts: list[bytes] = []
    for start in range(0, len(ids), _PIECE):
        records = jobs.by_ids(server.db.read, ids[start : start + _PIECE])
        parts += [job.model_dump_json().encode() for job in show_jobs(server, records)]
        await asyncio.sleep(0)
    return b"[" + b",".join(parts) + b"]"


@router.post("/dry-run", summary="Check what would happen to a job")
async def try_submit(app: App, caller: By, spec: JsonBody[JobSpec]) -> DryRun:
    """Checks a spec as a submit does, and returns when and where it would start."""
    may_submit(app.server, caller)
    (prepared,) = await check_specs(app, [spec], caller, many=False)
    if spec.snapshot:
        freezer = app.server.options.freezer
        await anyio.to_thread.run_sync(freezer.check, prepared.workdir, caller)
    return dry_run(app.server, caller, prepared)


@router.post("/what-if", summary="Compare when variants of a job would start")
async def what_if(app: App, caller: By, spec: JsonBody[JobSpec]) -> WhatIf:
    """
    Expected start of the job, and that with other numbers of GPUs, other time limits, as a share or
    preemptible, one change at a time. Nothing is written.
    """
    may_submit(app.server, caller)
    (prepared,) = await check_specs(app, [spec], caller, many=False)
    record, needed = would_be(app.server, caller, prepared)
    seen, found = options(app.server, record, needed)
    policy = app.server.options.policy
    async with app.reading.turn(caller.uid):
        return await anyio.to_thread.run_sync(starts, seen, found, policy)


@router.post("/parse", summary="Find the launches in a pasted text")
async def parse(app: App, caller: By, asked: JsonBody[TextToParse]) -> ParsedText:
    """
    Each launch of a text with what it is, how many GPUs it asks for and what will be rewritten, to be
    submitted one by one or as a list. Nothing is written, and no file is looked at.
    """
    may_submit(app.server, caller)
    return await anyio.to_thread.run_sync(parse_text, asked.text, app.server.options.first_port)


def parse_specs(raw: bytes, most_jobs: int, most_bytes: int) -> tuple[list[JobSpec], bool]:
    """Read one spec or a list, and return whether it was a list. Raises ApiError."""
    text = raw.lstrip()
    if not text:
        raise ApiError(400, "The body is empty; send a job as JSON.")
    if text[:1] != b"[":
        _job_within(len(raw), most_bytes)
        try:
            return [JobSpec.model_validate_json(raw)], False
        except ValidationError as error:
            if text[:1] != b"{" and error.errors()[0]["type"] != "json_invalid":
                raise ApiError(422, "Send a job as a JSON object, or a list of jobs.") from None
            raise invalid_body(error, JobSpec) from None
    specs: list[JobSpec] = []
    for start, piece in pieces(text, most_jobs=most_jobs, most_bytes=most_bytes):
        try:
            specs += _SPECS.validate_json(piece)
        except ValidationError as error:
            raise invalid_body(error, JobSpec, first=start) from None
    if not specs:
        raise ApiError(422, "The list is empty; send at least one job.")
    return specs, True


def _job_within(size: int, most: int) -> None:
    if size > most:
        raise ApiError(
            413, f"A job may have {most >> 10} KiB as JSON; put data and long scripts into files."
        )


async def check_specs(
    app: Context, specs: list[JobSpec], caller: Caller, *, many: bool
) -> list[Prepared]:
    """Check each spec's files, on a thread unless that was done just now. Raises Invalid."""
    access = app.accesses.of(caller.uid)
    if not many and check.is_known(specs[0], access):
        return await _with_warnings(app, _check_all(specs, caller, access, many), caller)
    prepared: list[Prepared] | None = None
    with anyio.move_on_after(_CHECK_TIMEOUT_S):
        prepared = await anyio.to_thread.run_sync(
            _check_all, specs, caller, access, many, abandon_on_cancel=True
        )
    if prepared is None:
        raise Invalid(
            "The folder or script did not answer within 5 seconds; is its network disk hanging?"
        )
    return await _with_warnings(app, prepared, caller)


async def _with_warnings(app: Context, prepared: list[Prepared], caller: Caller) -> list[Prepared]:
    """Add warnings about runs that will not fit; leave them out where that takes too long."""
    if any(app.memory_warnings.asks(one) for one in prepared):
        with anyio.move_on_after(_WARNINGS_TIMEOUT_S):
            prepared = await anyio.to_thread.run_sync(
                _add_warnings, app, prepared, caller, abandon_on_cancel=True
            )
    return lengths.with_warnings(app.server, caller, prepared)


async def freeze_code(app: Context, prepared: list[Prepared], caller: Caller) -> list[Prepared]:
    """Freeze the code of those that ask for it, each work tree once. Raises Invalid."""
    freezer = app.server.options.freezer
    wanted = dict.fromkeys(one.workdir for one in prepared if one.spec.snapshot)
    codes = {
        workdir: await anyio.to_thread.run_sync(freezer.freeze, workdir, caller)
        for workdir in wanted
    }
    return [
        one if not one.spec.snapshot else check.with_code(one, codes[one.workdir])
        for one in prepared
    ]


def _check_all(
    specs: list[JobSpec],
    caller: Caller,
    access: Access,
    many: bool,  # noqa: FBT001 - run_sync passes by position
) -> list[Prepared]:
    prepared: list[Prepared] = []
    for position, spec in enumerate(specs):
        try:
            prepared.append(check.check_spec(spec, caller, access))
        except Invalid as error:
            raise at_position(error, position, many=many) from None
    return prepared


def _add_warnings(app: Context, prepared: list[Prepared], caller: Caller) -> list[Prepared]:
    """Add what the bundled trainer's memory plan says of each."""
    box = app.server.known_gpus
    found: list[Prepared] = []
    for one in prepared:
        planned = app.memory_warnings.planned(one, caller, box)
        if planned.warnings:
            one = replace(one, warnings=(*one.warnings, *planned.warnings))  # noqa: PLW2901
        if planned.step_s is not None and one.work is not None and one.work.unit == "step":
            work = replace(one.work, planned_s=planned.step_s * one.work.amount)
            one = replace(one, work=work)  # noqa: PLW2901
        found.append(one)
    return found
