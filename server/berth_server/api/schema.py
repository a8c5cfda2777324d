"""OpenAPI document: FastAPI's, plus the media type of errors and the ways to sign in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from berth.protocol.problems import Problem

ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Problem, "description": "One sentence that says what to do."}
}
"""`responses` of all routes."""
_DESCRIPTION = """\
On the unix socket your uid is your identity; over TCP send `Authorization: Bearer <token>` or
the dashboard's cookie. Every error is problem+json whose `detail` is one sentence that says what
to do. Times are UTC, ISO 8601 with milliseconds; sizes are bytes; durations are text as users
write it, `12h`, `1h30m`.
"""


def install(app: FastAPI) -> None:
    """Make the app serve this document."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] - FastAPI's documented way


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "From `berth token create`.",
        },
        "session": {"type": "apiKey", "in": "cookie", "name": "berth_session"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _finish(path, operation)
    return document


def _finish(path: str, operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    error = responses["default"]
    # FastAPI knows one media type a route, its own: errors have another.
    (content,) = error["content"].values()
    error["content"] = {"application/problem+json": content}
    if path.startswith("/api"):
        # The empty one stands for the unix socket, whose peer the kernel knows.
        operation["security"] = [{"token": []}, {"session": []}, {}]
        for status in ("401", "403"):
            responses.setdefault(status, error)
