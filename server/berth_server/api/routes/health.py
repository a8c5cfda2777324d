"""Routes of the server's health, at the root and open without signing in."""

from __future__ import annotations

from fastapi import Response

from berth.protocol.server import Health
from berth_server.api import routing
from berth_server.api.context import App
from berth_server.logs import STDERR
from berth_server.store import disk

router = routing.router(tag="health")


@router.get("/healthz", summary="Check that the server answers")
async def healthz(app: App) -> Health:
    """200 as long as the process answers."""
    return Health(status="ok", version=app.version)


@router.get(
    "/readyz",
    summary="Check that jobs can start",
    responses={503: {"model": Health, "description": "Jobs cannot start, or not be submitted."}},
)
async def readyz(app: App, response: Response) -> Health:
    """503 while nothing can start, with the reason."""
    server = app.server
    problems: list[str] = []
    if app.closing.is_set():
        problems.append("The server is stopping.")
    if not server.worker_state.fresh(server.clock(), server.options.stale_after_s):
        problems.append("The worker does not report; start it with `berth up`.")
    full = disk.problem(app.home)
    if full is not None:
        problems.append(full)
    elif server.db.problem is not None:
        problems.append("The last change could not be written to the database; see log/server.log.")
    STDERR.flush()
    if STDERR.problem is not None:
        problems.append(
            f"The server's log cannot be written ({STDERR.problem}); it is kept in memory until "
            "there is space."
        )
    if problems:
        response.status_code = 503
    status = "degraded" if problems else "ok"
    return Health(status=status, version=app.version, problems=problems)
