"""Whether the server is well, at the root and open to everybody."""

from __future__ import annotations

from fastapi import Request, Response

from berth.protocol.server import Health
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.context import context

router = routing.router(tag="health")


@router.get("/healthz", response_model=Health, summary="The server answers")
async def healthz(request: Request) -> Response:
    """200 as long as the process answers."""
    return answer(Health(status="ok", version=context(request).version))


@router.get(
    "/readyz",
    response_model=Health,
    summary="Jobs can start",
    responses={503: {"model": Health, "description": "Jobs can be submitted, but none starts."}},
)
async def readyz(request: Request) -> Response:
    """503 while nothing can start, with the reason."""
    room = context(request)
    server = room.server
    problems: list[str] = []
    if room.closing.is_set():
        problems.append("The server is stopping.")
    if not server.worker_state.fresh(server.clock(), server.options.stale_after_s):
        problems.append("The worker does not report; start it with `berth up`.")
    status = "degraded" if problems else "ok"
    health = Health(status=status, version=room.version, problems=problems)
    return answer(health, 503 if problems else 200)
