"""The state of an attempt as its run directory shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import ExitRecord, LeasedGpu


@dataclass(frozen=True, slots=True)
class Found:
    """The state of an attempt as its run directory shows it."""

    claimed: bool = False
    refused: bool = False
    """It was stopped before its start and never will start."""
    slurm_job: int | None = None
    """The Slurm job that has claimed it."""
    started_at: datetime | None = None
    record: ExitRecord | None = None
    facts: LaunchFacts | None = None
    placed: tuple[LeasedGpu, ...] = ()
    submitted_at: float | None = None
    """Unix seconds; None when it never was."""
    lost_node: str | None = None
    """The node of a gang that fell silent."""
