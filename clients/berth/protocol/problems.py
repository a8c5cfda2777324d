"""Errors on the wire: problem+json (RFC 9457) with a sentence that names the fix."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from berth.protocol.message import Message, Part


class InvalidField(ValueError):  # noqa: N818 - named for what pydantic reports
    """Refusal of a model whose fields contradict each other, at the field to change."""

    def __init__(self, field: str, *pieces: Part | str) -> None:
        self.field = field
        self.message = Message.of(*pieces)
        super().__init__(str(self.message))


class FieldProblem(BaseModel):
    """Problem of one field of a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Path of the field, dotted, e.g. `0.gpus`; where several are at odds, the one to change."""
    problem: str
    """One sentence, or the part of one after the field's name."""
    problem_parts: Message = Message()
    """The same as typed parts."""


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
    detail_parts: Message = Message()
    """The sentence as typed parts."""
    fields: list[FieldProblem] = []
    """For invalid bodies: the problem of each field; `detail` states the first."""
    request_id: str | None = None
    """Id of the error in the server's log."""
