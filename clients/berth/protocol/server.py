"""The server about itself: health, settings, users."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message


class Health(Wire):
    """Answer of `/healthz` (the process answers) and `/readyz` (jobs can start)."""

    status: Literal["ok", "degraded"]
    """`degraded` when there are problems."""
    version: str
    """Berth's version."""
    problems: list[str] = Field(default_factory=list)
    """Problems, one sentence each, naming the fix."""


class Setting(Wire):
    """One setting as it is in force."""

    name: str = Field(examples=["listen"])
    """Its name in berth.toml."""
    value: str | int | float | bool | None
    """The value in force; null where nothing is set."""
    origin: Literal["default", "environment", "berth.toml"]
    """Origin of the value."""
    description: str
    """Its meaning."""
    description_parts: Message = Message()
    """The same as typed parts."""
    environment: str = Field(examples=["BERTH_LISTEN"])
    """The environment variable that sets it, empty where none does; in berth.toml it stands under
    `name`."""


class ServerSettings(Wire):
    """All settings of the server; none of them is secret."""

    home: str
    """BERTH_HOME."""
    settings: list[Setting]
    """In the order of docs/operations.md."""


class UserSummary(Wire):
    """Jobs and use of one user."""

    user: str
    """Name of the user."""
    running: int
    """Jobs that hold GPUs now (starting, running, stopping)."""
    pending: int
    """Jobs that are held, waiting or queued."""
    gpus: float
    """GPUs held now; a share counts as its part of the GPU's memory."""
    gpu_hours_7d: float
    """GPU-hours held in the last seven days; a share counts as its part of the GPU's memory."""
    idle_gpu_hours_7d: float | None = None
    """Of those, with a utilisation below 5 % in the mean of two minutes; absent where the GPUs
    were not sampled."""
    utilization_percent_7d: float | None = None
    """Mean utilisation of the GPUs while held, percent; absent likewise."""


class UserList(Wire):
    """Every user who ever submitted a job, busiest first."""

    users: list[UserSummary]
    """Users by GPUs held, then by use, most first."""


class UsageRow(Wire):
    """Use of the GPUs by one user, group or label in a month."""

    key: str
    """The user, the group, or the label's value."""
    jobs: int
    """Jobs that held GPUs."""
    gpu_hours: float
    """GPU-hours held; a share counts as its part of the GPU's memory."""
    idle_gpu_hours: float | None = None
    """Of those seen, without work (utilisation below 5 %); absent when nothing was seen."""
    utilization_percent: float | None = None
    """Mean utilisation while held, percent; absent likewise."""
    energy_kwh: float | None = None
    """Energy of the GPUs alone, kWh; absent when the driver tells no power."""
    cost: float | None = None
    """By the settings `price_per_gpu_hour` and `price_per_kwh`; absent without them."""
    co2_kg: float | None = None
    """Kilograms of CO2 by the setting `co2_per_kwh`; absent without it."""


class UsageReport(Wire):
    """Use of the GPUs in a calendar month. Jobs of versions before it was metered are not in it."""

    begins_at: UtcTime
    """First moment of the month, in the policy's time zone."""
    ends_at: UtcTime
    """First moment of the next."""
    by: str
    """Subject of the rows: `user`, `group` or `label:KEY`."""
    currency: str = ""
    """Unit of the costs, as the setting has it."""
    rows: list[UsageRow]
    """Most GPU-hours first."""


WasteKind = Literal["waiting", "idle", "gang_idle", "lost", "memory"]


class WasteLine(Wire):
    """GPU-hours of one job that did nothing, with their fix."""

    kind: WasteKind
    """`waiting`: GPUs were free while it waited; `idle`: it held GPUs without work; `gang_idle`: some
    of its GPUs were idle while others worked; `lost`: work after its last checkpoint was lost;
    `memory`: it used little of its GPUs' memory."""
    job_id: int
    """The job."""
    name: str
    """Its name."""
    user: str
    """Owner of it."""
    gpu_hours: float
    """GPU-hours; for `memory`, weighted by the part of the memory that was never used."""
    cost: float | None = None
    """By the setting `price_per_gpu_hour`; absent without it."""
    sentence: str
    """One sentence about what happened."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""
    fix: str
    """One sentence that names the fix."""
    fix_parts: Message = Message()
    """The same as typed parts."""


class WasteOfUser(Wire):
    """Sum of a user's lines, without `memory`, which counts GPUs that worked."""

    user: str
    """The user."""
    gpu_hours: float
    """GPU-hours that did nothing."""
    by_kind: dict[WasteKind, float]
    """GPU-hours by kind, `memory` too."""


class WasteReport(Wire):
    """GPU-hours of some days that did nothing, each with its fix."""

    begins_at: UtcTime
    """First moment."""
    ends_at: UtcTime
    """Last moment."""
    capacity_gpu_hours: float
    """GPU-hours that the box had."""
    held_gpu_hours: float
    """GPU-hours held by jobs."""
    wasted_gpu_hours: float
    """Sum of all kinds but `memory`: GPU-hours that did nothing."""
    currency: str = ""
    """Unit of the costs, as the setting has it."""
    sentence: str
    """The report in one sentence."""
    by_kind: dict[WasteKind, float]
    """GPU-hours by kind; each kind is there."""
    users: list[WasteOfUser]
    """Most waste first."""
    lines: list[WasteLine]
    """Most GPU-hours first, at most 500."""
    left_out: int = 0
    """Further lines, which the sums count."""
