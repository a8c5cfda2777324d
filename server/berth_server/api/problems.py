"""Errors as problem+json: one sentence that says what to do, never a stack trace."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from berth import jobfiles
from berth.invalid import field_problems, plain, summary
from berth.protocol.message import Message
from berth.protocol.problems import FieldProblem, Problem
from berth_server.service.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    Unavailable,
)
from berth_server.store import disk

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "berth.request_id"
_MOST_PROBLEMS = 100
_MOST_JOBS = 10**6
log = structlog.get_logger()

_KINDS: dict[int, tuple[str, str]] = {
    400: ("berth:bad-request", "Bad request"),
    401: ("berth:unauthenticated", "Not signed in"),
    403: ("berth:forbidden", "Not allowed"),
    404: ("berth:not-found", "Not found"),
    405: ("berth:method-not-allowed", "Method not allowed"),
    408: ("berth:too-slow", "Request too slow"),
    409: ("berth:conflict", "Conflict"),
    413: ("berth:too-large", "Request too large"),
    422: ("berth:invalid-request", "Invalid request"),
    429: ("berth:too-many", "Too many at once"),
    431: ("berth:too-large", "Headers too large"),
    500: ("berth:internal", "Internal error"),
    503: ("berth:unavailable", "Unavailable"),
}
_STATUS: dict[type[Refused], int] = {
    NotFound: 404,
    Forbidden: 403,
    Conflict: 409,
    Invalid: 422,
    Unavailable: 503,
}


class ApiError(Exception):
    """Refusal that is about HTTP itself, not about jobs."""

    def __init__(
        self,
        status: int,
        message: Message | str,
        fields: Iterable[FieldProblem] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        self.message = Message.of(message)
        super().__init__(str(self.message))
        self.status = status
        self.fields = list(fields)
        self.headers = headers


def problem(
    status: int,
    message: Message | str,
    *,
    request_id: str | None,
    fields: Iterable[FieldProblem] = (),
    headers: dict[str, str] | None = None,
    kind: str | None = None,
) -> Response:
    """Return the answer for an error."""
    known, title = _KINDS.get(status, ("about:blank", "Refused"))
    parts = Message.of(message)
    body = Problem(
        type=kind or known,
        title=title,
        status=status,
        detail=" ".join(str(parts).split()),
        detail_parts=parts,
        fields=list(fields),
        request_id=request_id,
    )
    return Response(body.model_dump_json(), status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem+json answer."""
    for kind, handler in (
        (Refused, _refused),
        (ApiError, _api_error),
        (RequestValidationError, _parameters),
        (HTTPException, _http),
        (sqlite3.OperationalError, _store),
        (OSError, _system),
        (Exception, _fault),
    ):
        app.add_exception_handler(kind, handler)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    fields = [] if error.field is None else [_field(error.field, error.message)]
    status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 422)
    return problem(
        status,
        error.message,
        request_id=_id(request),
        fields=fields,
        kind="berth:invalid-spec" if fields and status == 422 else None,
    )


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return problem(
        error.status,
        error.message,
        request_id=_id(request),
        fields=error.fields,
        headers=error.headers,
    )


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if any(e["type"] == "missing" and e["loc"] == ("body",) for e in errors):
        return problem(400, "The body is empty; send a JSON object.", request_id=_id(request))
    fields = [_field(str(e["loc"][-1]), Message.of(plain(e["msg"]))) for e in errors]
    return problem(422, summary(fields), request_id=_id(request), fields=fields)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    sentence = {
        404: f"There is nothing at {path}; all paths are listed at /api/v1/openapi.json.",
        405: f"{path} does not support {request.method}; see the Allow header for what it does.",
    }.get(error.status_code, f"{str(error.detail).rstrip('.')}.")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, sentence, request_id=_id(request), headers=headers)


async def _store(request: Request, error: Exception) -> Response:
    log.error("store.failed", error=str(error), path=request.url.path)
    sentence = (
        disk.full_message()
        if disk.is_full(error)
        else "The server could not write its database; see log/server.log and try again."
    )
    return problem(503, sentence, request_id=_id(request))


async def _system(request: Request, error: Exception) -> Response:
    if disk.is_full(error):
        return await _store(request, error)
    log.error("request.failed", exc_info=error, path=request.url.path)
    return await _fault(request, error)


async def _fault(request: Request, error: Exception) -> Response:
    # The error itself is logged by the server, with its traceback.
    del error
    request_id = _id(request)
    sentence = f"Internal error in Berth; see request {request_id} in log/server.log."
    return problem(500, sentence, request_id=request_id)


def invalid_body(
    error: ValidationError, model: type[BaseModel] | None, *, first: int = 0
) -> ApiError:
    """Return the problems of a body, field by field; of a list that starts at entry `first`."""
    errors = error.errors(include_url=False)
    if errors and errors[0]["type"] == "json_invalid":
        reason = str(errors[0].get("ctx", {}).get("error", "")).rstrip(".")
        return ApiError(400, f"The body is not valid JSON: {reason}.")
    fields = [_moved(one, first) for one in field_problems(error, model)[:_MOST_PROBLEMS]]
    return ApiError(422, summary(fields), fields)


def _field(name: str, message: Message) -> FieldProblem:
    return FieldProblem(field=name, problem=str(message), problem_parts=message)


def _moved(one: FieldProblem, first: int) -> FieldProblem:
    place, dot, within = one.field.partition(".")
    position = jobfiles.whole(place, _MOST_JOBS)
    if not first or position is None:
        return one
    return one.model_copy(update={"field": f"{position + first}{dot}{within}"})


def _id(request: Request) -> str | None:
    return request.scope.get(REQUEST_ID)
