"""GPUs set aside from a time to a time for some users or groups."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import quoted
from berth.protocol.problems import InvalidField

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class ReservationRequest(Wire):
    """Reserve GPUs. Jobs of other users that could overlap with the reservation do not start there."""

    gpus: list[Name] = Field(min_length=1, max_length=1024, examples=[["0", "1", "2", "3"]])
    """UUIDs or indices of the GPUs."""
    users: list[Name] = Field(default_factory=list, max_length=100, examples=[["ada"]])
    """Owners of the jobs that may start there meanwhile."""
    groups: list[Name] = Field(default_factory=list, max_length=100, examples=[["vision"]])
    """Groups of the box whose members' jobs may as well."""
    starts_at: UtcTime | None = Field(default=None, examples=["2026-11-26T08:00:00Z"])
    """Begin; default: now."""
    ends_at: UtcTime = Field(examples=["2026-11-27T20:00:00Z"])
    """End."""
    reason: str = Field(default="", max_length=500, examples=["camera-ready runs"])
    """Shown to every user whose jobs wait because of it."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not (self.users or self.groups):
            either = (quoted("users"), " or ", quoted("groups"))
            raise InvalidField("users", "Say for whom: give ", *either, ".")
        if self.starts_at is not None and self.ends_at <= self.starts_at:
            later = " must be later than "
            raise InvalidField("ends_at", quoted("ends_at"), later, quoted("starts_at"), ".")
        return self


class Reservation(Wire):
    """GPUs set aside."""

    id: int
    """To delete it by; never used twice."""
    gpu_uuids: list[str]
    """The GPUs, in index order."""
    gpu_indices: list[int]
    """The box's indices of those that are there now."""
    users: list[str] = Field(default_factory=list)
    """Owners of the jobs that may start there meanwhile."""
    groups: list[str] = Field(default_factory=list)
    """Groups whose members' jobs may as well."""
    starts_at: UtcTime
    """Begin."""
    ends_at: UtcTime
    """End; it leaves the list then."""
    reason: str = ""
    """Reason, in the words of its maker."""
    made_by: str
    """The admin who made it."""
    active: bool
    """True if it has begun."""


class ReservationList(Wire):
    """The reservations that are not over."""

    reservations: list[Reservation]
    """Soonest first."""
