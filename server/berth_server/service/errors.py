"""Refusals of the service. Every message is one sentence that names the fix."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - reads as what happened: `raise Forbidden(…)`
    """Base of everything that the service says no with."""

    def __init__(self, sentence: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fields = fields or {}
        """What is wrong with which field of the request, by dotted path."""


class NotFound(Refused):
    """There is no such thing."""


class Forbidden(Refused):
    """The caller may not do this."""


class Conflict(Refused):
    """The thing is in a state in which this cannot be done."""


class Invalid(Refused):
    """What is asked for can never be done here."""


class Unavailable(Refused):
    """It cannot be done now; trying again later may help."""
