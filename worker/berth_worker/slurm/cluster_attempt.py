"""One attempt on a cluster, as the executor knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import DesiredAttempt, ExitRecord, LeasedGpu, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import Phase, StopTerms
from berth_worker.attempts.rundir import RunDir
from berth_worker.slurm.found import Found


@dataclass(slots=True)
class ClusterAttempt:
    """The state of one attempt, from its adoption until the server forgets it."""

    desired: DesiredAttempt
    name: str
    """The name of its job in Slurm."""
    folder: RunDir
    phase: Phase = "unstarted"
    claimed: bool = False
    job_id: int | None = None
    """The Slurm job that counts."""
    started_at: datetime | None = None
    saved_at: datetime | None = None
    facts: LaunchFacts | None = None
    placed: tuple[LeasedGpu, ...] = ()
    """The GPUs that Slurm gave it; empty until they are known."""
    waiting: str | None = None
    """Its place in Slurm's queue, as a sentence; None once it has left it."""
    waiting_since: float | None = None
    """Monotonic seconds at which it was first seen waiting; None once it may run anywhere."""
    record: ExitRecord | None = None
    outcome: Outcome | None = None
    message: str | None = None
    clear: bool = False
    """Slurm shows no process of it any more."""
    absent_since: float | None = None
    """Monotonic seconds since when listings have not shown its job; None while they do."""
    accounted: bool = False
    stop_terms: StopTerms | None = None
    stop_at: float | None = None
    """Monotonic seconds at which Slurm itself is asked to end it."""
    found: Found | None = None
    """The content of the run directory, as last read."""
    looked_at: tuple[str, float] = ("", 0.0)
    """Slurm's word, and the monotonic time, of the last look into it."""
    busy: bool = field(default=False, compare=False)
    """A command for it is under way."""

    def observed(self) -> ObservedAttempt | None:
        """Return the attempt for a report; None while there is nothing to report."""
        if self.phase == "unstarted":
            return None
        return ObservedAttempt(
            attempt=self.desired.attempt,
            token=self.desired.token,
            phase=self.phase,
            started_at=self.started_at,
            saved_at=self.saved_at,
            launch=self.facts,
            placed=self.placed,
            waiting=self.waiting,
            exit=self.record,
            outcome=self.outcome,
            message=self.message,
            gpus_clear=self.clear,
        )
