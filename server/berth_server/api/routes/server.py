"""Routes about the server itself."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Query

from berth.protocol.server import ServerSettings, UsageReport, UserList
from berth_server import settings_list
from berth_server.api import routing
from berth_server.api.context import App, Server
from berth_server.service.gpus.idle import work_by_user
from berth_server.service.scheduling.usage_report import usage_report
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


@router.get("/usage", summary="Report a month's use of the GPUs")
async def get_usage(
    server: Server,
    month: Annotated[
        str | None, Query(description="Like `2026-11`; default: the present month.")
    ] = None,
    by: Annotated[
        str, Query(max_length=120, description="`user`, `group` or `label:KEY`.")
    ] = "user",
) -> UsageReport:
    """GPU-hours, idle hours, utilisation, energy, cost and CO2, most GPU-hours first."""
    return usage_report(server, month, by)
