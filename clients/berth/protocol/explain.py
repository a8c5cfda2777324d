"""Why a job is where it is: one structure that the CLI, the API and the page render."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
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
    "impossible",
    "limit",
    "reservation",
    "worker_down",
    "running",
    "ended",
]


class Reason(Wire):
    """One fact about why a job waits."""

    kind: ReasonKind
    """What kind of fact."""
    sentence: str
    """For people; names jobs, users, GPUs and times."""
    blocking: bool = True
    """Whether the job could start if only this fact were gone."""
    job_ids: tuple[int, ...] = ()
    """The jobs it is about."""
    gpu_indices: tuple[int, ...] = ()
    """The GPUs it is about, by the box's index."""
    until: UtcTime | None = None
    """When it is expected to go away."""


class Explanation(Wire):
    """Why a job is in its state, and when it should start."""

    job_id: int
    """The job that is explained."""
    state: JobState
    """Its state now."""
    position: int | None = None
    """1 for the next to start."""
    expected_start: UtcTime | None = None
    """When it should start; absent when nothing is known."""
    confidence: Literal["certain", "likely", "guess", "unknown"] = "unknown"
    """How far `expected_start` is to be trusted: time limits only (`likely`), estimates
    (`guess`), nothing known (`unknown`)."""
    summary: str
    """One sentence that stands alone."""
    reasons: list[Reason] = Field(default_factory=list)
    """All facts that matter, gravest first."""
    would_help: list[str] = Field(default_factory=list)
    """What would start it sooner, one sentence each."""
