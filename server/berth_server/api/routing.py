"""Routes that refuse unknown query parameters and read bodies strictly."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from berth.invalid import nearest
from berth_server.api.bodies import RawRequest
from berth_server.api.problems import ApiError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """Route that refuses unknown query parameters: a typo must not widen a list."""

    def get_route_handler(self) -> Handler:
        """Return the handler that FastAPI calls."""
        inner = super().get_route_handler()
        known = [
            field.alias
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, Query)
        ]

        async def handler(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in known:
                        raise ApiError(
                            422, f"There is no query parameter {name!r}{nearest(name, known)}."
                        )
            if self.body_field is not None:
                request = RawRequest(request.scope, request.receive)
            return await inner(request)

        return handler


def router(*, prefix: str = "", tag: str) -> APIRouter:
    """Return a router of such routes."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)
