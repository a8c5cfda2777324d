"""Routes of the box and its GPUs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from berth.protocol.gpus import Box, DrainRequest, Gpu
from berth_server.api import routing
from berth_server.api.bodies import JsonBody, no_body
from berth_server.api.context import By, Server
from berth_server.service.gpus.drain import on_drain, on_undrain
from berth_server.service.gpus.gpu_map import show_box, show_gpu

router = routing.router(prefix="/api/v1/gpus", tag="gpus")

_NO_REASON = DrainRequest()
_Uuid = Annotated[
    str, Path(max_length=200, description="UUID of the GPU, or its index.", examples=["GPU-5d1c…"])
]


@router.get("", summary="Show the box and who is on its GPUs")
async def get_box(server: Server, caller: By) -> Box:
    """
    The worker's last report, with the holder of each GPU. `stale` when it is old. What is free is
    said for the caller's jobs.
    """
    return show_box(server, caller.user)


@router.post("/{uuid}/drain", summary="Drain a GPU")
async def drain(
    server: Server, caller: By, uuid: _Uuid, wish: JsonBody[DrainRequest] = _NO_REASON
) -> Gpu:
    """Let no new job onto it; what runs there goes on. With `until` the drain ends then. For admins."""
    gpu = on_drain(server, caller, uuid, wish.reason, wish.until)
    return show_gpu(server, gpu.uuid)


@router.post("/{uuid}/undrain", summary="End the drain of a GPU", dependencies=[Depends(no_body)])
async def undrain(server: Server, caller: By, uuid: _Uuid) -> Gpu:
    """Jobs may start on it again. For admins."""
    gpu = on_undrain(server, caller, uuid)
    return show_gpu(server, gpu.uuid)
