"""Refusals of the service. Every message is one sentence that names the fix."""

from __future__ import annotations

from berth.protocol.message import Message


class Refused(Exception):  # noqa: N818 - reads as what happened: `raise Forbidden(…)`
    """Base of all refusals."""

    def __init__(self, message: Message | str, field: str | None = None) -> None:
        self.message = Message.of(message)
        super().__init__(str(self.message))
        self.field = field
        """Dotted path of the refused field of the request; None where none is."""


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
