"""Routes of ablations: create, list, compare, change, rerun."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Path, Query

from berth.protocol.ablations import AblationMade, AblationPatch, AblationSpec, RerunRequest
from berth.protocol.metrics import Ablation, AblationList
from berth.protocol.submits import SubmittedJobs
from berth_server.api import routing
from berth_server.api.bodies import JsonBody, RawBody
from berth_server.api.context import App, By, Context, Server
from berth_server.api.problems import ApiError
from berth_server.api.routes.submit import IdempotencyKey, check_specs, freeze_code
from berth_server.service.ablations.ablate import made, on_ablation, on_change, on_rerun, wanted
from berth_server.service.ablations.compare import gather, list_ablations, sources
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs.check import Prepared
from berth_server.service.jobs.submit import may_submit, repeated

router = routing.router(prefix="/api/v1/ablations", tag="ablations")

_FAILED_CELLS = RerunRequest()
_Id = Annotated[
    str, Path(max_length=200, description="Name of the ablation.", examples=["history"])
]


@router.get("", summary="List ablations")
async def get_ablations(
    server: Server,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of ablations.")] = 100,
) -> AblationList:
    """Those with the newest jobs first."""
    return list_ablations(server, limit)


@router.post("", status_code=201, summary="Create an ablation")
async def make_ablation(
    app: App,
    caller: By,
    spec: JsonBody[AblationSpec],
    raw: RawBody,
    idempotency_key: IdempotencyKey = None,
) -> AblationMade:
    """
    Create the jobs of all cells and their limits in one transaction: all or none. Each job is
    labelled with its cell's values and with `ablation`, the name.
    """
    async with app.writing.turn(caller.uid):
        return await _make(app, caller, spec, raw, idempotency_key)


async def _make(
    app: Context, caller: Caller, spec: AblationSpec, raw: bytes, idempotency_key: str | None
) -> AblationMade:
    server = app.server
    done = repeated(server, caller, idempotency_key, raw)
    prepared: list[Prepared] = []
    if done is None:
        may_submit(server, caller)
        specs = wanted(server, caller, spec).specs
        most = app.settings.jobs_per_submit
        if len(specs) > most:
            raise ApiError(413, f"An ablation may make {most} jobs at once; divide the matrix.")
        prepared = await check_specs(app, specs, caller, many=True) if specs else []
        if any(one.snapshot for one in specs):
            prepared = await freeze_code(app, prepared, caller)
        # The same key or new cells may have come while the folders were checked.
        done = repeated(server, caller, idempotency_key, raw)
    if done is None:
        if wanted(server, caller, spec).specs != [one.spec for one in prepared]:
            raise ApiError(409, "Cells were added to the ablation at the same moment; try again.")
        done = on_ablation(server, caller, spec, prepared, key=idempotency_key, body=raw)
    return made(spec, done, prepared)


@router.get("/{ablation_id}", summary="Compare the runs of an ablation")
async def get_ablation(app: App, caller: By, ablation_id: _Id) -> Ablation:
    """The jobs with the label `ablation` = id, with the last and the best of each metric."""
    return await _comparison(app, caller, ablation_id)


@router.patch("/{ablation_id}", summary="Change the limits of an ablation")
async def patch_ablation(
    app: App, caller: By, ablation_id: _Id, patch: JsonBody[AblationPatch]
) -> Ablation:
    """Set its limits or its early-stop rule; omitted fields stay, null removes one."""
    on_change(app.server, caller, ablation_id, patch)
    return await _comparison(app, caller, ablation_id)


@router.post("/{ablation_id}/rerun", summary="Run cells again")
async def rerun(
    server: Server,
    caller: By,
    ablation_id: _Id,
    wish: JsonBody[RerunRequest] = _FAILED_CELLS,
) -> SubmittedJobs:
    """Queue failed cells (or those that `which` names) again under their own job ids."""
    return SubmittedJobs(ids=on_rerun(server, caller, ablation_id, wish))


async def _comparison(app: Context, caller: Caller, ablation_id: str) -> Ablation:
    async with app.reading.turn(caller.uid):
        found = sources(app.server, ablation_id)
        return await anyio.to_thread.run_sync(gather, found, app.curves)
