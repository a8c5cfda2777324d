"""Errors on the wire: problem+json (RFC 9457) with a sentence that names the fix."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FieldProblem(BaseModel):
    """Problem of one field of a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Path of the field, dotted, e.g. `0.gpus`."""
    problem: str
    """One sentence, or the part of one after the field's name."""


class Problem(BaseModel):
    """An error answer, media type application/problem+json."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    """Stable name of the kind of error, e.g. `berth:invalid-spec`."""
    title: str
    """Short, the same for every error of this type."""
    status: int
    """HTTP status."""
    detail: str
    """One sentence that says what to do."""
    fields: list[FieldProblem] = []
    """For invalid bodies: the problem of each field."""
    request_id: str | None = None
    """Id of the error in the server's log."""
