"""Routes about the server itself."""

from __future__ import annotations

import anyio.to_thread

from berth.protocol.server import ServerSettings, UserList
from berth_server import settings_list
from berth_server.api import routing
from berth_server.api.context import App
from berth_server.service.gpus.idle import work_by_user
from berth_server.service.scheduling.user_overview import summarise, week

router = routing.router(prefix="/api/v1", tag="server")


@router.get("/settings", summary="List the settings in force")
async def get_settings(app: App) -> ServerSettings:
    """Each with its value, its source and its meaning; those of the policy as `policy.…`."""
    return settings_list.show(app.settings, app.home)


@router.get("/users", summary="List the users and what they hold")
async def get_users(app: App) -> UserList:
    """Running and pending jobs, GPUs held, GPU hours of the last week, how much of them idle."""
    work = await anyio.to_thread.run_sync(work_by_user, app.telemetry, *week(app.server))
    return summarise(app.server, work)
