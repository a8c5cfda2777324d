"""Routes of the server's health, at the root and open without signing in."""

from __future__ import annotations

from fastapi import Response

from berth.protocol.server import Health
from berth_server.api import routing
from berth_server.api.context import App

router = routing.router(tag="health")


@router.get("/healthz", summary="Check that the server answers")
async def healthz(app: App) -> Health:
    """200 as long as the process answers."""
    return Health(status="ok", version=app.version)


@router.get(
    "/readyz",
    summary="Check that jobs can start",
    responses={503: {"model": Health, "description": "Jobs can be submitted, but none starts."}},
)
async def readyz(app: App, response: Response) -> Health:
    """503 while nothing can start, with the reason."""
    server = app.server
    problems: list[str] = []
    if app.closing.is_set():
        problems.append("The server is stopping.")
    if not server.worker_state.fresh(server.clock(), server.options.stale_after_s):
        problems.append("The worker does not report; start it with `berth up`.")
    if problems:
        response.status_code = 503
    status = "degraded" if problems else "ok"
    return Health(status=status, version=app.version, problems=problems)
