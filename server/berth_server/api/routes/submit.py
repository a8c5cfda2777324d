"""The route that takes jobs in: the one that has to be quick."""

from __future__ import annotations

from dataclasses import replace

import anyio.to_thread
from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError

from berth.protocol.dryrun import DryRun, SubmittedJobs
from berth.protocol.jobs import Job, JobSpec
from berth_server.api import routing
from berth_server.api.answers import answer, answers
from berth_server.api.bodies import body_of, described, header
from berth_server.api.context import Context, caller, context
from berth_server.api.problems import Wrong, invalid_body
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid
from berth_server.service.jobs import check
from berth_server.service.jobs.check import Prepared
from berth_server.service.jobs.dry_run import dry_run
from berth_server.service.jobs.permissions import Access
from berth_server.service.jobs.present import show_jobs
from berth_server.service.jobs.submit import Submitted, at_position, may_submit, on_submit, repeated
from berth_server.service.state import ServerState
from berth_server.store import jobs

router = routing.router(prefix="/api/v1/jobs", tag="jobs")

# A folder on a network disk that hangs must not keep the submitter waiting for ever.
_LOOK_TIMEOUT_S = 5.0
# A warning is worth that much waiting, no more: what is found later serves the next submit.
_FORESEE_TIMEOUT_S = 1.5
_LONGEST_KEY = 200
KEY_HEADER = header(
    "Idempotency-Key",
    "Makes the submit safe to repeat: the same key gives the same jobs.",
    minLength=1,
    maxLength=_LONGEST_KEY,
)
_SPECS = TypeAdapter(list[JobSpec])


@router.post(
    "",
    status_code=201,
    response_model=Job | list[Job] | SubmittedJobs,
    summary="Submit a job, or a list of jobs",
    openapi_extra=described(JobSpec, many=True)
    | {
        "parameters": [
            KEY_HEADER,
            header("Prefer", "`return=minimal` answers a list with its ids alone."),
        ]
    },
)
async def submit(request: Request) -> Response:
    """
    Take in jobs, all or none. They are on disk when this answers, and those that can have
    started. A list is answered with a list in the same order.
    """
    key = key_of(request)
    raw = await request.body()
    room, asking = context(request), caller(request)
    server = room.server
    specs, many = parse_specs(raw)
    done = repeated(server, asking, key, raw)
    if done is None:
        may_submit(server, asking)
        prepared = await look(room, specs, asking, many=many)
        if any(spec.snapshot for spec in specs):
            prepared = await frozen(room, prepared, asking)
        # Somebody may have sent the same key while the folders were looked at.
        done = repeated(server, asking, key, raw) or on_submit(
            server, asking, prepared, many=many, key=key, body=raw
        )
        warnings = list(dict.fromkeys(w for one in prepared for w in one.warnings))
    else:
        warnings = []
    if many and "return=minimal" in request.headers.get("prefer", ""):
        return answer(SubmittedJobs(ids=list(done.ids), warnings=warnings), 201)
    return _shown(server, done, many=many)


@router.post(
    "/dry-run",
    response_model=DryRun,
    summary="What would happen to a job",
    openapi_extra=described(JobSpec),
)
async def try_submit(request: Request) -> Response:
    """Checks a spec as a submit does, and tells when and where it would start."""
    spec = await body_of(request, JobSpec)
    room, asking = context(request), caller(request)
    may_submit(room.server, asking)
    (prepared,) = await look(room, [spec], asking, many=False)
    if spec.snapshot:
        freezer = room.server.options.freezer
        await anyio.to_thread.run_sync(freezer.check, prepared.workdir, asking)
    return answer(dry_run(room.server, asking, prepared))


def key_of(request: Request) -> str | None:
    """The Idempotency-Key, if there is one. Raises Wrong."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= _LONGEST_KEY:
        raise Wrong(422, f"Idempotency-Key has {len(key)} characters; give 1 to {_LONGEST_KEY}.")
    return key


def parse_specs(raw: bytes) -> tuple[list[JobSpec], bool]:
    """One spec, or a list of them, and which it was. Raises Wrong."""
    text = raw.lstrip()
    if not text:
        raise Wrong(400, "The body is empty; send a job as JSON.")
    try:
        if text[:1] != b"[":
            return [JobSpec.model_validate_json(raw)], False
        specs = _SPECS.validate_json(raw)
    except ValidationError as error:
        if text[:1] not in {b"[", b"{"} and error.errors()[0]["type"] != "json_invalid":
            raise Wrong(422, "Send a job as a JSON object, or a list of them.") from None
        raise invalid_body(error, JobSpec) from None
    if not specs:
        raise Wrong(422, "The list holds no job; send at least one.")
    return specs, True


async def look(
    room: Context, specs: list[JobSpec], asking: Caller, *, many: bool
) -> list[Prepared]:
    """Look at each spec's files, on a thread unless all was looked at just now. Raises Invalid."""
    access = room.accesses.of(asking.uid)
    if not many and check.is_known(specs[0], access):
        return await _foreseen(room, _look_all(specs, asking, access, many), asking)
    prepared: list[Prepared] | None = None
    with anyio.move_on_after(_LOOK_TIMEOUT_S):
        prepared = await anyio.to_thread.run_sync(
            _look_all, specs, asking, access, many, abandon_on_cancel=True
        )
    if prepared is None:
        raise Invalid(
            "The folder or script did not answer within 5 seconds; is it on a network disk that "
            "hangs?"
        )
    return await _foreseen(room, prepared, asking)


async def _foreseen(room: Context, prepared: list[Prepared], asking: Caller) -> list[Prepared]:
    """With warnings of runs that will not fit; without them where that takes too long."""
    if not any(room.foresight.asks(one) for one in prepared):
        return prepared
    with anyio.move_on_after(_FORESEE_TIMEOUT_S):
        return await anyio.to_thread.run_sync(
            _foresee_all, room, prepared, asking, abandon_on_cancel=True
        )
    return prepared


async def frozen(room: Context, prepared: list[Prepared], asking: Caller) -> list[Prepared]:
    """The same with the code of those that want it frozen; each work tree once. Raises Invalid."""
    freezer = room.server.options.freezer
    wanted = dict.fromkeys(one.workdir for one in prepared if one.spec.snapshot)
    codes = {
        workdir: await anyio.to_thread.run_sync(freezer.freeze, workdir, asking)
        for workdir in wanted
    }
    return [
        one if not one.spec.snapshot else check.with_code(one, codes[one.workdir])
        for one in prepared
    ]


def _look_all(
    specs: list[JobSpec],
    asking: Caller,
    access: Access,
    many: bool,  # noqa: FBT001 - run_sync passes by position
) -> list[Prepared]:
    prepared: list[Prepared] = []
    for position, spec in enumerate(specs):
        try:
            prepared.append(check.look(spec, asking, access))
        except Invalid as error:
            raise at_position(error, position, many=many) from None
    return prepared


def _foresee_all(room: Context, prepared: list[Prepared], asking: Caller) -> list[Prepared]:
    """What the bundled trainer's memory plan says of each goes among its warnings."""
    box = room.server.known_gpus
    found: list[Prepared] = []
    for one in prepared:
        told = room.foresight.warnings(one, asking, box)
        found.append(replace(one, warnings=(*one.warnings, *told)) if told else one)
    return found


def _shown(server: ServerState, done: Submitted, *, many: bool) -> Response:
    shown = show_jobs(server, jobs.by_ids(server.db.read, done.ids))
    return answers(shown, 201) if many else answer(shown[0], 201)
