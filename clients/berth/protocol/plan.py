"""Berth plan: every GPU over time, past, present and planned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message
from berth.protocol.reservations import Reservation


class PlanGpu(Wire):
    """One GPU of the plan."""

    uuid: str
    """The driver's UUID."""
    index: int
    """The box's index."""
    utilization_percent: list[float | None] = Field(default_factory=list[float | None])
    """Of the past, one value per entry of `times`; null where nothing was measured."""
    blocked: str | None = None
    """Why no new job starts on it now: external process, leftover, fault; absent otherwise."""
    blocked_parts: Message = Message()
    """The sentence as typed parts."""
    draining: bool = False
    """No new job starts on it."""
    drain_until: UtcTime | None = None
    """End of the drain; absent: until it is undrained."""


class PlanBar(Wire):
    """One job on GPUs, in the past, now or as planned."""

    job_id: int
    """The job."""
    name: str
    """Its name."""
    user: str
    """Whose it is."""
    kind: Literal["past", "running", "planned"]
    """Whether it was, is or should be there."""
    gpu_indices: list[int]
    """Its GPUs, by the box's index."""
    starts_at: UtcTime
    """Its start; of a planned one the expected start."""
    starts_by: UtcTime | None = None
    """Of a planned one, the start that nine of ten keep; absent where that is not known."""
    ends_at: UtcTime | None = None
    """Its end; of others the expected end, absent where nothing tells."""
    ends_by: UtcTime | None = None
    """The end by its time limit; absent without one."""
    share: bool = False
    """True if it has a part of the GPU."""


class BoxPlan(Wire):
    """The scheduler's own plan with what came before it."""

    now: UtcTime
    """Moment of the plan."""
    starts_at: UtcTime
    """Begin of the past that is shown."""
    ends_at: UtcTime
    """End of the future that is shown."""
    gpus: list[PlanGpu]
    """In index order."""
    times: list[UtcTime]
    """Begin of each step of the utilisation, oldest first."""
    bars: list[PlanBar]
    """Past ones first, then running ones, then planned ones in the order of the queue."""
    reservations: list[Reservation] = Field(default_factory=list[Reservation])
    """Current and future reservations."""
    short: int = 0
    """Past jobs that are left out because they were too short to be seen; the utilisation shows
    them."""
    unplanned: int = 0
    """Queued jobs whose start is not in sight or beyond the jobs that are planned."""
