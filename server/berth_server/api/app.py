"""Web application: all routes behind one authentication."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from berth_server.api import problems, schema
from berth_server.api.auth import Authentication
from berth_server.api.compression import Compression
from berth_server.api.context import Context
from berth_server.api.routes import (
    ablations,
    access,
    dashboard,
    events,
    gpus,
    health,
    internal,
    jobs,
    live,
    log_streams,
    logs,
    prometheus,
    reservations,
    server,
    snapshots,
    submit,
)
from berth_server.background import tasks
from berth_server.web.static import Dashboard


def create_app(context: Context) -> FastAPI:
    """Return the application for one running server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with tasks.running(
            context.server,
            context.telemetry,
            send_webhooks=context.settings.webhooks,
            waste_report_to=context.settings.waste_report_to,
        ):
            yield

    app = FastAPI(
        title="Berth",
        summary="A GPU job queue for the box that a lab shares",
        version=context.version,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=schema.ERRORS,
        # A slash too many is an error: redirects lose the body of a POST in many clients.
        redirect_slashes=False,
    )
    app.state.context = context
    problems.install(app)
    # Matched in this order: the busiest come first.
    for module in (
        internal,
        submit,
        jobs,
        logs,
        log_streams,
        ablations,
        snapshots,
        dashboard,
        live,
        gpus,
        reservations,
        events,
        access,
        server,
        health,
        prometheus,
    ):
        app.include_router(module.router)
    schema.install(app)
    app.router.default = _elsewhere(app.router.not_found)
    app.add_middleware(Compression)
    app.add_middleware(Authentication, context=context)
    return app


def _takes_gzip(scope: Scope) -> bool:
    return any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])


def _elsewhere(not_found: ASGIApp) -> ASGIApp:
    """Return the fallback for paths without a route: the dashboard's pages and files."""
    dashboard = Dashboard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
        response = dashboard.respond(scope["path"], gzip=_takes_gzip(scope)) if wanted else None
        await (response or not_found)(scope, receive, send)

    return app
