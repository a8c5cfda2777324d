"""Routes of ablations: make, list, compare, change, rerun."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Path, Query, Request, Response

from berth.protocol.ablations import AblationMade, AblationPatch, AblationSpec, RerunRequest
from berth.protocol.dryrun import SubmittedJobs
from berth.protocol.metrics import Ablation, AblationList
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.bodies import body_of, body_or, described, parse
from berth_server.api.context import Context, caller, context
from berth_server.api.problems import Wrong
from berth_server.api.routes.submit import KEY_HEADER, frozen, key_of, look
from berth_server.service.ablations.ablate import made, on_ablation, on_change, on_rerun, wanted
from berth_server.service.ablations.compare import gather, list_ablations, sources
from berth_server.service.jobs.check import Prepared
from berth_server.service.jobs.submit import may_submit, repeated

router = routing.router(prefix="/api/v1/ablations", tag="ablations")

_Id = Annotated[
    str, Path(max_length=200, description="Name of the ablation.", examples=["history"])
]


@router.get("", response_model=AblationList, summary="List ablations")
async def get_ablations(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most ablations.")] = 100,
) -> Response:
    """Those with the newest jobs first."""
    return answer(list_ablations(context(request).server, limit))


@router.post(
    "",
    status_code=201,
    response_model=AblationMade,
    summary="Make an ablation",
    openapi_extra=described(AblationSpec) | {"parameters": [KEY_HEADER]},
)
async def make_ablation(request: Request) -> Response:
    """
    Make the jobs of all cells and what caps them, in one transaction: all or none. Each job is
    labelled with its cell's values and with `ablation`, the name.
    """
    key = key_of(request)
    raw = await request.body()
    if not raw.strip():
        raise Wrong(400, "The body is empty; send an ablation as JSON.")
    room, asking = context(request), caller(request)
    spec = parse(raw, AblationSpec)
    done = repeated(room.server, asking, key, raw)
    prepared: list[Prepared] = []
    if done is None:
        may_submit(room.server, asking)
        specs = wanted(room.server, asking, spec).specs
        prepared = await look(room, specs, asking, many=True) if specs else []
        if any(one.snapshot for one in specs):
            prepared = await frozen(room, prepared, asking)
        # Somebody may have sent the same key, or added cells, while the folders were looked at.
        done = repeated(room.server, asking, key, raw)
    if done is None:
        if wanted(room.server, asking, spec).specs != [one.spec for one in prepared]:
            raise Wrong(409, "Cells were added to the ablation at the same moment; try again.")
        done = on_ablation(room.server, asking, spec, prepared, key=key, body=raw)
    return answer(made(spec, done, prepared), 201)


@router.get("/{ablation_id}", response_model=Ablation, summary="Compare runs")
async def get_ablation(request: Request, ablation_id: _Id) -> Response:
    """The jobs with the label `ablation` = id, with the last and the best of each metric."""
    return await _comparison(context(request), ablation_id)


@router.patch(
    "/{ablation_id}",
    response_model=Ablation,
    summary="Change the caps of an ablation",
    openapi_extra=described(AblationPatch),
)
async def patch_ablation(request: Request, ablation_id: _Id) -> Response:
    """Set the caps or the early-stop rule; what is left out stays, null lifts it."""
    patch = await body_of(request, AblationPatch)
    room = context(request)
    on_change(room.server, caller(request), ablation_id, patch)
    return await _comparison(room, ablation_id)


@router.post(
    "/{ablation_id}/rerun",
    response_model=SubmittedJobs,
    summary="Run cells again",
    openapi_extra=described(RerunRequest, required=False),
)
async def rerun(request: Request, ablation_id: _Id) -> Response:
    """Queue failed cells (or those that `which` names) again under their own job ids."""
    wish = await body_or(request, RerunRequest())
    ids = on_rerun(context(request).server, caller(request), ablation_id, wish)
    return answer(SubmittedJobs(ids=ids))


async def _comparison(room: Context, ablation_id: str) -> Response:
    found = sources(room.server, ablation_id)
    return answer(await anyio.to_thread.run_sync(gather, found))
