"""What this worker knows of one attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import anyio

from berth.daemons.identity import Identity
from berth.protocol.internal import DesiredAttempt, ExitRecord, ObservedAttempt
from berth.protocol.jobs import LaunchFacts
from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import Phase, Seen, StopTerms
from berth_worker.attempts.rundir import Began, RunDir
from berth_worker.devices import AttemptProcesses


@dataclass(slots=True)
class Attempt:
    """One attempt, from the first look until the server forgets it."""

    desired: DesiredAttempt
    folder: RunDir
    phase: Phase = "unstarted"
    shim: Identity | None = None
    began: Began | None = None
    facts: LaunchFacts | None = None
    record: ExitRecord | None = None
    outcome: Outcome | None = None
    message: str | None = None
    gpus_clear: bool = False
    saved_at: datetime | None = None
    """When the job last told of a whole checkpoint, as of the last look."""
    asked: StopTerms | None = None
    refusals: int = 0
    seen_pids: set[int] = field(default_factory=set[int])
    """Pids that the driver has shown for it."""
    left: int = 0
    """How many of its processes would not die, at the last count."""
    scope: anyio.CancelScope | None = None
    """Of the task that follows it."""

    @property
    def name(self) -> str:
        """`42.1`."""
        return self.desired.attempt

    @property
    def started_at(self) -> datetime | None:
        """When the job's first process was started."""
        if self.began is not None:
            return self.began.started_at
        return self.record.started_at if self.record is not None else None

    @property
    def seen(self) -> Seen:
        """As far as the decisions need to know it."""
        return Seen(self.phase, self.asked, self.refusals)

    @property
    def processes(self) -> AttemptProcesses:
        """
        The attempt's known processes. Pids that other processes have by now are left out, and
        so is a shim that has reported the end: it must not be killed while it writes the record.
        """
        known = [
            self.shim if self.record is None else None,
            self.began.first.identity() if self.began is not None else None,
        ]
        pids = {who.pid for who in known if who is not None and who.alive}
        return AttemptProcesses(
            attempt=self.name,
            gpu_uuids=tuple(gpu.uuid for gpu in self.desired.gpus),
            pids=frozenset(pids),
            uid=self.desired.uid,
        )

    def observed(self) -> ObservedAttempt | None:
        """For the report; None as long as there is nothing to tell."""
        if self.phase == "unstarted":
            return None
        return ObservedAttempt(
            attempt=self.name,
            token=self.desired.token,
            phase=self.phase,
            started_at=self.started_at,
            saved_at=self.saved_at,
            launch=self.facts,
            exit=self.record,
            outcome=self.outcome,
            message=self.message,
            gpus_clear=self.gpus_clear,
        )
