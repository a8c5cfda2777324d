"""Routes about the server itself."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Query, Response

from berth.protocol.server import ServerSettings, UsageReport, UserList, WasteReport
from berth_server import settings_list
from berth_server.api import routing
from berth_server.api.context import App, By, Server
from berth_server.service.gpus.idle import work_by_user
from berth_server.service.gpus.waste import as_csv, sources, waste_report
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


_Days = Annotated[float, Query(gt=0, le=30, description="Number of days to look back.")]
_OfUser = Annotated[str | None, Query(max_length=100, description="Only jobs of this user.")]


@router.get("/waste", summary="Report GPU-hours that did nothing")
async def get_waste(app: App, caller: By, days: _Days = 7, user: _OfUser = None) -> WasteReport:
    """
    GPUs that were free while jobs waited, held without work, idle in a job whose other GPUs worked,
    work lost since the last checkpoint, and memory that was asked for and not used: by user and
    job, each with its fix.
    """
    found = sources(app.server, days)
    async with app.reading.turn(caller.uid):
        return await anyio.to_thread.run_sync(waste_report, found, app.telemetry, user)


@router.get(
    "/waste/csv",
    summary="Report GPU-hours that did nothing, as CSV",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
)
async def get_waste_csv(app: App, caller: By, days: _Days = 7, user: _OfUser = None) -> Response:
    """The lines of the report, for spreadsheets."""
    report = await get_waste(app, caller, days, user)
    headers = {"Content-Disposition": 'attachment; filename="berth-waste.csv"'}
    return Response(as_csv(report), 200, headers, "text/csv")
