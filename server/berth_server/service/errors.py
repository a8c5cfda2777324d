"""Refusals of the service. Every message is one sentence that names the fix."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - reads as what happened: `raise Forbidden(…)`
    """Base of all refusals."""

    def __init__(self, sentence: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fields = fields or {}
        """Problem of each refused field of the request, by dotted path."""


class NotFound(Refused):
    """The named resource does not exist."""


class Forbidden(Refused):
    """The caller may not do this."""


class Conflict(Refused):
    """The state of the resource does not allow this."""


class Invalid(Refused):
    """The request can never be fulfilled on this box."""


class Unavailable(Refused):
    """It cannot be done now; trying again later may help."""
