"""The web application: all routes behind one gate."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from berth_server.api import events, gpus, health, internal, jobs, logs, problems, submit
from berth_server.api.clock import keep_time
from berth_server.api.context import Context
from berth_server.api.gate import Gate


def create_app(context: Context) -> FastAPI:
    """The application for one running service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with keep_time(context):
            yield

    app = FastAPI(
        title="Berth",
        summary="A GPU job queue for the box that a lab shares",
        version=context.version,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # A slash too many is told as such: redirects lose the body of a POST in many clients.
        redirect_slashes=False,
    )
    app.state.context = context
    problems.install(app)
    for module in (submit, jobs, logs, gpus, events, internal, health):
        app.include_router(module.router)
    app.add_middleware(Gate, context=context)
    return app
