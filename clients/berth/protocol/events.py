"""The audit log: one event per change, with increasing ids."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message


class Event(Wire):
    """Something that happened, written in the same transaction as the change itself."""

    id: int
    """Increasing; resume a stream from the last one seen."""
    time: UtcTime
    """Time of the event."""
    kind: str = Field(examples=["job.submitted", "job.running", "gpu.drained", "gpu.outsider"])
    """Object, dot, verb or new state. docs/reference/events.md lists them all."""
    actor: str = Field(examples=["ada", "system"])
    """User who did it, or `system`."""
    job_id: int | None = None
    """The job it is about, if any."""
    attempt: str | None = None
    """The attempt it is about, if any, like `42.1`."""
    gpu_uuid: str | None = None
    """The GPU it is about, if any."""
    message: str
    """One sentence."""
    message_parts: Message = Message()
    """The message as typed parts."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Kind-specific facts."""


class EventPage(Wire):
    """Events in increasing order of id."""

    events: list[Event]
    """Oldest first."""
    last_id: int
    """Pass as `after` to go on."""
