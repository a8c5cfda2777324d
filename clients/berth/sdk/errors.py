"""Errors of the SDK. `str(error)` is always one sentence that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth.protocol.problems import Problem


class BerthError(Exception):
    """Base of everything that the SDK raises on purpose."""

    problem: Problem | None
    """The server's own words, when it answered with a problem."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Unreachable(BerthError):  # noqa: N818 - reads as what happened: except berth.Unreachable
    """No server answers at the address, or the connection broke and stayed broken."""


class Silent(Unreachable):
    """The server exists but did not answer in time."""


class Refused(BerthError):  # noqa: N818 - see Unreachable
    """The server refused the request. `problem` says why."""


class InvalidRequest(Refused):
    """A field is wrong; `problem.fields` says which."""


class Unauthorized(Refused):
    """The caller is unknown: no token, or one that is no longer valid."""


class Forbidden(Refused):
    """The caller is known and may not do this."""


class NotFound(Refused):
    """The thing asked for does not exist."""


class Conflict(Refused):
    """The thing is in a state that does not allow this."""


class ServerTrouble(BerthError):  # noqa: N818 - see Unreachable
    """The server failed at a valid request."""


class WaitTimeout(BerthError):  # noqa: N818 - see Unreachable
    """The time to wait is over; the jobs keep running."""


def by_status(status: int) -> type[BerthError]:
    """Return the class of error for an HTTP status of 400 or more."""
    known: dict[int, type[BerthError]] = {
        401: Unauthorized,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        410: NotFound,
        412: Conflict,
        502: Unreachable,
        503: Unreachable,
        504: Unreachable,
    }
    if status in known:
        return known[status]
    if status >= 500:
        return ServerTrouble
    return InvalidRequest if status in {400, 413, 415, 422} else Refused
