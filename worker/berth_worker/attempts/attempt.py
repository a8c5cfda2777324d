"""One attempt, as this worker knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import anyio

from berth.daemons.identity import Identity
from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import DesiredAttempt, Examination, ExitRecord, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import ObservedPhase, Phase, StopTerms
from berth_worker.attempts.run_records import ShimRecord
from berth_worker.attempts.rundir import RunDir
from berth_worker.devices import AttemptProcesses


@dataclass(slots=True)
class Attempt:
    """The state of one attempt, from its adoption until the server forgets it."""

    desired: DesiredAttempt
    folder: RunDir
    phase: Phase = "unstarted"
    shim: Identity | None = None
    shim_record: ShimRecord | None = None
    facts: LaunchFacts | None = None
    exit_record: ExitRecord | None = None
    outcome: Outcome | None = None
    message: str | None = None
    port_taken: bool = False
    """True if somebody else had its rendezvous port."""
    epilogue_failed: str | None = None
    """The sentence about an epilogue that failed."""
    gpus_clear: bool = False
    saved_at: datetime | None = None
    """Time of the job's last complete checkpoint, as of the last look."""
    stop_terms: StopTerms | None = None
    examination: Examination | None = None
    """The last look at its processes that the server asked for."""
    examining: int = 0
    """Number of the look that was begun last."""
    besides: int = 0
    """Number of the last command that its shim was asked to start beside it."""
    start_failures: int = 0
    seen_pids: set[int] = field(default_factory=set[int])
    """Pids that the driver has listed for it."""
    orphans: int = 0
    """Number of its processes that survived SIGKILL, at the last count."""
    scope: anyio.CancelScope | None = None
    """Cancel scope of the task that runs it."""

    @property
    def name(self) -> str:
        """`42.1`."""
        return self.desired.attempt

    @property
    def started_at(self) -> datetime | None:
        """Start time of the job's first process."""
        if self.shim_record is not None:
            return self.shim_record.started_at
        return self.exit_record.started_at if self.exit_record is not None else None

    @property
    def observed_phase(self) -> ObservedPhase:
        """The part that `reconcile.decide` needs."""
        return ObservedPhase(self.phase, self.stop_terms, self.start_failures)

    @property
    def processes(self) -> AttemptProcesses:
        """
        The attempt's known processes. Pids that other processes have by now are left out, and
        so is a shim that has reported the end: it may serve another attempt.
        """
        known = [
            self.shim if self.exit_record is None else None,
            self.shim_record.first.identity() if self.shim_record is not None else None,
        ]
        pids = {who.pid for who in known if who is not None and who.alive}
        return AttemptProcesses(
            attempt=self.name,
            gpu_uuids=tuple(gpu.uuid for gpu in self.desired.gpus),
            pids=frozenset(pids),
            uid=self.desired.uid,
        )

    def observed(self) -> ObservedAttempt | None:
        """Return the attempt for a report; None while there is nothing to report."""
        if self.phase == "unstarted":
            return None
        return ObservedAttempt(
            attempt=self.name,
            token=self.desired.token,
            phase=self.phase,
            started_at=self.started_at,
            saved_at=self.saved_at,
            launch=self.facts,
            exit=self.exit_record,
            outcome=self.outcome,
            message=self.message,
            port_taken=self.port_taken,
            examination=self.examination if self.desired.examine else None,
            epilogue_failed=self.epilogue_failed,
            gpus_clear=self.gpus_clear,
        )
