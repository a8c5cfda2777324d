"""The OpenAPI document: FastAPI's, plus the bodies that routes read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from berth.protocol.ablations import AblationPatch, AblationSpec, RerunRequest
from berth.protocol.access import TokenRequest
from berth.protocol.gpus import DrainRequest
from berth.protocol.internal import WorkerReport
from berth.protocol.jobs import JobPatch, JobSpec
from berth.protocol.problems import Problem
from berth.protocol.reservations import ReservationRequest

_BODIES: tuple[type[BaseModel], ...] = (
    JobSpec,
    JobPatch,
    AblationSpec,
    AblationPatch,
    RerunRequest,
    DrainRequest,
    ReservationRequest,
    TokenRequest,
    WorkerReport,
    Problem,
)
_REF = "#/components/schemas/{model}"
_DESCRIPTION = """\
On the unix socket your uid is your identity; over TCP send `Authorization: Bearer <token>` or
the dashboard's cookie. Every error is problem+json whose `detail` is one sentence that names the
mend. Times are UTC, ISO 8601 with milliseconds; sizes are bytes; durations are text as users
write it, `12h`, `1h30m`.
"""


def install(app: FastAPI) -> None:
    """Have the app describe itself in full."""

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
    schemas = components.setdefault("schemas", {})
    _, made = models_json_schema([(m, "validation") for m in _BODIES], ref_template=_REF)
    for name, schema in made.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    # What FastAPI would answer to a wrong body, and does not here.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Made by `berth token create`.",
        },
        "session": {"type": "apiKey", "in": "cookie", "name": "berth_session"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _finish(path, operation)
    return document


def _finish(path: str, operation: dict[str, Any]) -> None:
    error = {
        "description": "One sentence that names the mend.",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    responses["default"] = error
    if path.startswith("/api"):
        # The empty one stands for the unix socket, whose peer the kernel knows.
        operation["security"] = [{"token": []}, {"session": []}, {}]
        for status in ("401", "403"):
            responses.setdefault(status, error)
