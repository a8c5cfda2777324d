"""Stops of attempts: asked of their shim, of Slurm, or made before the start."""

from __future__ import annotations

import time
from functools import partial

from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import StopTerms
from berth_worker.slurm import records, states
from berth_worker.slurm.calls import Calls
from berth_worker.slurm.client import SlurmClient
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.found import Found
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.steps import Steps

_HARD_STOP_AFTER_S = 10.0
_CANCEL_EVERY_S = 5.0


class Stops:
    """Carries stops out."""

    def __init__(self, client: SlurmClient, calls: Calls, steps: Steps) -> None:
        self._client = client
        self._calls = calls
        self._steps = steps

    def stop(self, attempt: ClusterAttempt, found: Found, job: ClusterJob | None) -> None:
        """Ask the attempt's shim to end it, or see to it that it never starts."""
        if found.refused or found.record is not None:
            return
        now = time.monotonic()
        if not found.claimed:
            self._calls.run(attempt, self._steps.block)
            return
        terms = StopTerms.of(attempt.desired)
        if attempt.stop_terms != terms:
            attempt.stop_terms, attempt.phase = terms, "stopping"
            wait = terms.grace + terms.warning
            attempt.stop_at = now + wait.total_seconds() + _HARD_STOP_AFTER_S
            # The node looks for it too: a signal may not come through.
            records.write_stop_terms(attempt.folder, terms)
            if job is not None and not states.has_ended(job):
                self._calls.ask(attempt, partial(self._client.terminate, job.id))
        elif attempt.stop_at is not None and now >= attempt.stop_at and job is not None:
            attempt.stop_at = now + _HARD_STOP_AFTER_S
            self.cancel(attempt, job)

    def take_back(self, attempt: ClusterAttempt, job: ClusterJob | None) -> None:
        """End an attempt that was stopped before its start."""
        if job is not None and not states.has_ended(job):
            self._calls.ask(attempt, partial(self._client.take_back, job.id))
        attempt.phase = "ended"
        attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
        attempt.message = "It was stopped before it started."
        attempt.waiting = None
        attempt.clear = True

    def abandon(self, attempt: ClusterAttempt, found: Found, job: ClusterJob) -> None:
        """Cancel a job that Slurm goes on to call running."""
        attempt.abandoned = True
        if found.record is None:
            records.note_silence(attempt.folder, next(iter(job.nodes), None))
        self.cancel(attempt, job)

    def cancel(self, attempt: ClusterAttempt, job: ClusterJob) -> None:
        """Let Slurm end a job; it gets some seconds to say so before it is asked again."""
        now = time.monotonic()
        number, before = attempt.cancelled
        if attempt.busy or (number == job.id and now - before < _CANCEL_EVERY_S):
            return
        attempt.cancelled = (job.id, now)
        self._calls.ask(attempt, partial(self._client.cancel, job.id))
