"""Routes about the server itself."""

from __future__ import annotations

import anyio.to_thread
from fastapi import Request, Response

from berth.protocol.server import ServerSettings, UserList
from berth_server import policylist, settings
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.context import context
from berth_server.service.gpus.idle import work_by_user
from berth_server.service.scheduling.user_overview import summarise, week

router = routing.router(prefix="/api/v1", tag="server")


@router.get("/settings", response_model=ServerSettings, summary="The settings in force")
async def get_settings(request: Request) -> Response:
    """Each with its value, who set it, and what it means; the policy's as `policy.…`."""
    room = context(request)
    shown = settings.show(room.settings, room.home)
    knobs = policylist.show(room.settings.policy)
    return answer(shown.model_copy(update={"settings": [*shown.settings, *knobs]}))


@router.get("/users", response_model=UserList, summary="Who has what on the box")
async def get_users(request: Request) -> Response:
    """Running and pending jobs, GPUs held, GPU hours of the last week, how much of them idle."""
    room = context(request)
    work = await anyio.to_thread.run_sync(work_by_user, room.history, *week(room.server))
    return answer(summarise(room.server, work))
