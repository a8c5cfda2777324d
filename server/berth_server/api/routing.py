"""Routes that refuse what they do not know, and cost no more than they need."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from berth.protocol.invalid import nearest
from berth_server.api.problems import Wrong

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """
    A route that refuses unknown query parameters: a typo must not widen a list.

    An endpoint that takes the request and nothing else is called as it is; FastAPI's resolving
    of parameters would take longer than most of them.
    """

    def get_route_handler(self) -> Handler:
        """The handler that FastAPI calls."""
        inner = super().get_route_handler()
        known = [field.alias for field in self.dependant.query_params]
        parameters = (
            self.dependant.path_params,
            self.dependant.query_params,
            self.dependant.header_params,
            self.dependant.cookie_params,
            self.dependant.body_params,
            self.dependant.dependencies,
        )
        call: Handler = inner if any(parameters) else self.endpoint

        async def handler(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in known:
                        raise Wrong(
                            422, f"There is no query parameter {name!r}{nearest(name, known)}."
                        )
            return await call(request)

        return handler


def router(*, prefix: str = "", tag: str) -> APIRouter:
    """A router of such routes."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)
