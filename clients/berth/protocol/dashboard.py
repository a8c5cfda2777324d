"""Dashboard models beyond jobs and GPUs: log search, telemetry, the plan, run files, streams."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message
from berth.protocol.reservations import Reservation


class Hello(Wire):
    """SSE event `hello`, the first of `/live/stream`."""

    instance: str
    """Differs after each start of the server: clients must then load everything again."""
    version: str
    """Version of the server."""
    last_event_id: int
    """Id of the newest event when the stream began."""


class LogMatch(Wire):
    """A line that matches a search."""

    number: int
    """Lines count from 0."""
    text: str
    """The line as a terminal shows it, without colours, cut at 500 characters."""


class LogMatches(Wire):
    """Matching lines in order, as far as one second of searching reached."""

    attempt: str | None = Field(default=None, examples=["42.1"])
    """Attempt whose log was searched; absent while the job has no attempt yet."""
    matches: list[LogMatch]
    """At most `limit`, in order of lines."""
    next: str | None = Field(default=None, examples=["1048576:20123"])
    """Pass as `cursor` to continue; absent when the whole log was searched."""


class LogMarkers(Wire):
    """Lines worth jumping to. Lines count from 0."""

    attempt: str | None = None
    """Attempt whose log it is; absent while the job has no attempt yet."""
    first_traceback: int | None = None
    """The first Python traceback: later ones are often its echo on other ranks."""
    last_checkpoint: int | None = None
    """The last line that mentions a checkpoint."""
    ranks: list[int] = Field(default_factory=list)
    """Ranks that prefix their lines, like `[rank3]:`, as seen in the log's first 8 MiB."""


class RankLines(Wire):
    """The last lines of one rank."""

    rank: int | None = None
    """The rank, as a launcher marks its lines (`[rank3]:`); absent for lines without a mark."""
    lines: list[LogMatch]
    """In the order of the log."""


class SpecDifference(Wire):
    """A field in which two jobs differ."""

    field: str
    """Name of the field, like `command` or `env.LR`."""
    before: str | None = None
    """Value in the job that succeeded; absent where it had none."""
    now: str | None = None
    """Value in the job that failed; absent where it has none."""


class FailureReport(Wire):
    """Everything about an attempt that did not end well, for one page."""

    attempt: str | None = Field(default=None, examples=["42.1"])
    """The attempt; absent while the job has none."""
    traceback: list[LogMatch] = Field(default_factory=list[LogMatch])
    """The first Python traceback, at most 80 lines; empty where there is none."""
    ranks: list[RankLines] = Field(default_factory=list[RankLines])
    """The last 20 lines of each rank, of the log's last 2 MiB."""
    succeeded_job_id: int | None = None
    """The newest job of the same name and user that has succeeded; absent for none."""
    differences: list[SpecDifference] = Field(default_factory=list[SpecDifference])
    """Fields in which it differs from that job."""
    same_outcome_7d: int = 0
    """Other jobs of this box that ended in the same way in the last seven days."""


class GpuSeries(Wire):
    """One GPU over time: a value per entry of `times`, null where nothing was measured."""

    utilization_percent: list[float | None]
    """Share of each sample in which a kernel ran, percent."""
    memory_used_bytes: list[int | None]
    """Memory in use, bytes."""
    power_w: list[float | None]
    """Power drawn, watts."""
    temperature_c: list[float | None]
    """Temperature, degrees Celsius."""


class GpuHistory(Wire):
    """GPUs over time, evenly spaced. Kept every 5 s for a day, every 2 min for 30 days."""

    times: list[UtcTime]
    """Begin of each entry's step, oldest first."""
    step_s: float
    """Seconds between entries; each is the mean of its step's samples."""
    gpus: dict[str, GpuSeries]
    """By UUID."""


class RunFile(Wire):
    """A file of a run directory."""

    name: str
    """Folders end with a slash."""
    size_bytes: int
    """0 for folders."""
    modified_at: UtcTime
    """Time of the last write."""


class RunFiles(Wire):
    """Files of an attempt's run directory, by name."""

    attempt: str | None = None
    """Attempt whose directory it is; absent while the job has no attempt yet."""
    run_dir: str | None = None
    """The folder on the box."""
    files: list[RunFile]
    """At most 1,000."""


class PlanGpu(Wire):
    """One GPU of the plan."""

    uuid: str
    """The driver's UUID."""
    index: int
    """The box's index."""
    utilization_percent: list[float | None] = Field(default_factory=list[float | None])
    """Of the past, one value per entry of `times`; null where nothing was measured."""
    blocked: str | None = None
    """Reason that no new job starts on it now: external process, leftover, fault; absent otherwise."""
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
    """Owner of it."""
    kind: Literal["past", "running", "planned"]
    """Past, present or planned."""
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
    """Queued jobs whose start is not known, or that come after the last planned job."""
