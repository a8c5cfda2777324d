"""Explanation of a job's place: typed facts that the CLI and the page render."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message
from berth.protocol.states import JobState

ReasonKind = Literal[
    "held",
    "dependency",
    "not_before",
    "gpus_held",
    "gpus_outsider",
    "gpus_leftover",
    "gpus_unhealthy",
    "gpus_draining",
    "gpu_memory",
    "behind",
    "claimed",
    "scattered",
    "impossible",
    "limit",
    "reservation",
    "worker_down",
    "running",
    "alert",
    "ended",
]


class Reason(Wire):
    """One fact about why a job waits."""

    kind: ReasonKind
    """Kind of fact."""
    sentence: str
    """For people; names jobs, users, GPUs and times."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""
    blocking: bool = True
    """True if the job could start if only this fact were gone."""
    job_ids: tuple[int, ...] = ()
    """The jobs it is about."""
    gpu_indices: tuple[int, ...] = ()
    """The GPUs it is about, by the box's index."""
    until: UtcTime | None = None
    """Time at which it should go away."""


PointsKind = Literal["length", "fit", "age", "fair_share"]


class ScorePart(Wire):
    """One factor of a job's score."""

    kind: PointsKind
    """Name of the factor."""
    points: float
    """Number of points; negative ones are taken away."""
    sentence: str
    """The fact behind it, for people."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class ScoreBreakdown(Wire):
    """A queued job's rank: by the age cap, then priority, then points, then the id."""

    job_id: int
    """The job."""
    name: str
    """Its name."""
    user: str
    """Owner of it."""
    position: int
    """1 for the next to start."""
    aged: bool
    """It has waited past the age cap: such jobs come first, the longest waiting of them ahead."""
    priority: int
    """Higher comes first."""
    points: float
    """The sum of `parts`; among equal priorities more comes first, but whole-box jobs come where
    the box is cleared for them."""
    parts: list[ScorePart]
    """The factors."""


class Comparison(Wire):
    """A queued job beside another one, and why they stand in this order."""

    standing: ScoreBreakdown
    """The other job's."""
    ahead: bool
    """True if the other job comes first."""
    sentence: str
    """The decisive difference, for people."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class Explanation(Wire):
    """Reasons why a job is in its state, and when it should start."""

    job_id: int
    """The job that is explained."""
    state: JobState
    """Its state now."""
    position: int | None = None
    """1 for the next to start."""
    expected_start: UtcTime | None = None
    """Median of when it should start; absent when nothing is known."""
    expected_start_p90: UtcTime | None = None
    """Nine of ten times it has started by then; absent like `expected_start`."""
    confidence: Literal["certain", "likely", "guess", "unknown"] = "unknown"
    """Confidence in `expected_start`: all that runs has a time limit or earlier runs
    like it (`likely`), something has neither (`guess`), nothing known (`unknown`)."""
    summary: str
    """One sentence that stands alone."""
    summary_parts: Message = Message()
    """The summary as typed parts."""
    summary_reason: int | None = None
    """The place in `reasons`, from 0, of the one that the summary repeats; absent for none."""
    reasons: list[Reason] = Field(default_factory=list)
    """All facts that matter, gravest first."""
    standing: ScoreBreakdown | None = None
    """Score that gives it its place; absent when it is not in line."""
    compared: Comparison | None = None
    """The job that was asked for with `against`, else the one just ahead; absent when there is
    none."""
    would_help: list[str] = Field(default_factory=list)
    """Hints that would start it sooner, one sentence each."""
    would_help_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""
    notes: list[str] = Field(default_factory=list)
    """Notes on its command from the submit, one sentence each."""
    notes_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""
