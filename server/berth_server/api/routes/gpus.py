"""Routes of the box and its GPUs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from berth.protocol.gpus import Box, DrainRequest, Gpu
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.bodies import body_or, described, no_body
from berth_server.api.context import caller, context
from berth_server.service.gpus.drain import on_drain, on_undrain
from berth_server.service.gpus.gpu_map import show_box, show_gpu

router = routing.router(prefix="/api/v1/gpus", tag="gpus")

_Uuid = Annotated[
    str, Path(max_length=200, description="UUID of the GPU, or its index.", examples=["GPU-5d1c…"])
]


@router.get("", response_model=Box, summary="Show the box and who is on its GPUs")
async def get_box(request: Request) -> Response:
    """What the worker saw last, with the holder of each GPU. `stale` when that is old."""
    return answer(show_box(context(request).server))


@router.post(
    "/{uuid}/drain",
    response_model=Gpu,
    summary="Let no new job onto a GPU",
    openapi_extra=described(DrainRequest, required=False),
)
async def drain(request: Request, uuid: _Uuid) -> Response:
    """What runs there goes on. With `until` jobs are let onto it again by then. For admins."""
    wish = await body_or(request, DrainRequest())
    server = context(request).server
    gpu = on_drain(server, caller(request), uuid, wish.reason, wish.until)
    return answer(show_gpu(server, gpu.uuid))


@router.post("/{uuid}/undrain", response_model=Gpu, summary="Let jobs onto a GPU again")
async def undrain(request: Request, uuid: _Uuid) -> Response:
    """For admins."""
    await no_body(request)
    server = context(request).server
    gpu = on_undrain(server, caller(request), uuid)
    return answer(show_gpu(server, gpu.uuid))
