"""
Reconciliation: the actions that lead from the observed to the desired state. Pure: no files, no
clock.

Level-triggered: `decide` may be called again at any time and after any restart. An attempt goes
through `unstarted`, `starting`, `running`, `stopping`, `ended` and never back, with one
exception: when the box could not start a process for it, it is `unstarted` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from berth.protocol.internal import DesiredAttempt, DesiredState
from berth.protocol.states import Outcome

Phase = Literal["unstarted", "starting", "running", "stopping", "ended"]
MAX_START_FAILURES = 5


@dataclass(frozen=True, slots=True)
class StopTerms:
    """The terms on which an attempt is stopped."""

    grace: timedelta
    """Time between TERM and KILL."""
    warning: timedelta = timedelta()
    """Time to save between the warning signal and TERM; 0 means no warning."""

    @classmethod
    def of(cls, attempt: DesiredAttempt) -> StopTerms:
        """Return the terms for an attempt: only a preempted one is warned first."""
        preempted = attempt.stop_reason is Outcome.PREEMPTED
        return cls(attempt.grace, attempt.warn_before if preempted else timedelta())

    def as_json(self) -> bytes:
        """Return the content of stop.json."""
        return b'{"grace_s": %.3f, "warn_s": %.3f}' % (
            self.grace.total_seconds(),
            self.warning.total_seconds(),
        )


@dataclass(frozen=True, slots=True)
class ObservedPhase:
    """The state of an attempt that this worker has adopted."""

    phase: Phase
    stop_terms: StopTerms | None = None
    """The terms of the last stop request; None when there was none."""
    start_failures: int = 0
    """Number of failed attempts to start a process for it."""


@dataclass(frozen=True, slots=True)
class _OnDesired:
    attempt: DesiredAttempt

    @property
    def name(self) -> str:
        """The attempt's id."""
        return self.attempt.attempt


@dataclass(frozen=True, slots=True)
class Adopt(_OnDesired):
    """Take up the attempt in the state that its run directory shows."""


@dataclass(frozen=True, slots=True)
class Start(_OnDesired):
    """Start it: it has never been started."""


@dataclass(frozen=True, slots=True)
class Fail(_OnDesired):
    """Stop trying to start it: it ends as `launch_error`."""


@dataclass(frozen=True, slots=True)
class Block(_OnDesired):
    """Claim it so that it is never started: it was stopped before its start."""


@dataclass(frozen=True, slots=True)
class Stop(_OnDesired):
    """Ask its shim to end it."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop it: the server no longer wants it."""

    attempt: str

    @property
    def name(self) -> str:
        """The attempt's id."""
        return self.attempt


Action = Adopt | Start | Fail | Block | Stop | Forget


def decide(desired: DesiredState, observed: Mapping[str, ObservedPhase]) -> list[Action]:
    """Return the actions that lead from the observed to the desired state; empty if they agree."""
    actions: list[Action] = []
    for attempt in desired.attempts:
        action = _for_one(attempt, observed.get(attempt.attempt))
        if action is not None:
            actions.append(action)
    wanted = {attempt.attempt for attempt in desired.attempts}
    actions.extend(Forget(name) for name in observed if name not in wanted)
    return actions


def _for_one(attempt: DesiredAttempt, observed: ObservedPhase | None) -> Action | None:
    if observed is None:
        return Adopt(attempt)
    stop = attempt.action == "stop"
    if observed.phase == "unstarted":
        if stop:
            return Block(attempt)
        return Start(attempt) if observed.start_failures < MAX_START_FAILURES else Fail(attempt)
    if stop and observed.phase != "ended" and observed.stop_terms != StopTerms.of(attempt):
        return Stop(attempt)
    return None
