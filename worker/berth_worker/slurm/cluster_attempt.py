"""One attempt on a cluster, as the executor knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime

from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import DesiredAttempt, ExitRecord, LeasedGpu, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import Phase, StopTerms
from berth_worker.attempts.rundir import RunDir
from berth_worker.slurm.found import Found
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.states import Facts


@dataclass(slots=True)
class ClusterAttempt:
    """The state of one attempt, from its adoption until the server forgets it."""

    desired: DesiredAttempt
    name: str
    """The name of its job in Slurm."""
    folder: RunDir
    known_since: float
    """Monotonic seconds at which this worker heard of it."""
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
    port_taken: bool = False
    """True if somebody else had its rendezvous port."""
    cancelled: tuple[int, float] = (0, 0.0)
    """The job that Slurm was asked to cancel last, and the monotonic seconds of it."""
    abandoned: bool = False
    """Its job was cancelled by us, because Slurm went on to call it running."""
    clear: bool = False
    """Slurm shows no process of it any more."""
    absent_since: float | None = None
    """Monotonic seconds since when listings have not shown its job; None while they do."""
    submitted_at: float | None = None
    """Monotonic seconds of its last submit by this worker."""
    accounted: bool = False
    avoid: frozenset[str] = frozenset()
    """Nodes that its next job had better not wait for."""
    superseded: frozenset[tuple[int, int]] = frozenset()
    """Ids and submit times of ended jobs in whose place another has been submitted."""
    remembered: tuple[ClusterJob, ...] = ()
    """Its jobs as accounting remembers them."""
    stop_terms: StopTerms | None = None
    stop_at: float | None = None
    """Monotonic seconds at which Slurm itself is asked to end it."""
    found: Found | None = None
    """The content of the run directory, as last read."""
    looked_at: tuple[tuple[ClusterJob, ...], float] = ((), 0.0)
    """Slurm's word, and the monotonic time, of the last look into it."""
    alive_at: float | None = None
    """Monotonic seconds of the last new sign of life from its nodes."""
    listings: int = 0
    """Listings that have come since its exit record was seen."""
    recorded_at: float | None = None
    """Monotonic seconds at which its exit record was first seen."""
    busy: bool = field(default=False, compare=False)
    """A command for it is under way."""

    def note(self, found: Found, now: float) -> None:
        """Take in what its run directory holds."""
        if self.alive_at is None or self.found is None or found.beats != self.found.beats:
            self.alive_at = now
        if self.recorded_at is None and found.record is not None:
            self.recorded_at = now
        self.found = found

    def facts_now(self, found: Found, job: ClusterJob | None, now: float, *, broken: bool) -> Facts:
        """Return what the next step depends on."""
        absent, recorded = self.absent_since, self.recorded_at
        return Facts(
            claimed=found.claimed,
            record=found.record,
            job=job,
            submitted_ago_s=self._submitted_ago_s(found, now),
            absent_s=0.0 if absent is None else now - absent,
            accounted=self.accounted,
            recorded_s=0.0 if recorded is None else now - recorded,
            broken_node=broken,
            listings=self.listings,
            silent_s=0.0 if self.alive_at is None else now - self.alive_at,
        )

    def _submitted_ago_s(self, found: Found, now: float) -> float | None:
        if self.submitted_at is not None:
            return now - self.submitted_at
        if found.submitted_at is None:
            return None
        # The disk's clock may be another machine's, and ahead of ours.
        return max(time.time() - found.submitted_at, now - self.known_since)

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
            port_taken=self.port_taken,
            gpus_clear=self.clear,
        )
