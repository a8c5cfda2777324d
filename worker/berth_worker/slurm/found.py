"""The state of an attempt as its run directory shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import ExitRecord, LeasedGpu
from berth_worker.slurm.gpu_use import GpuUse


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
    """The node that fell silent, or on which Slurm's supervisor was killed."""
    orphaned: bool = False
    """Slurm had lost sight of it, so it was ended."""
    decisive_rank: int = 0
    """Of a run over several nodes: the node whose part decided its end."""
    beats: tuple[bytes, ...] = ()
    """The last sign of life of each node."""
    use: dict[str, GpuUse] = field(default_factory=dict[str, GpuUse])
    """Readings of its GPUs, by name."""
