"""
What to do next, given what the server wants and what is there. Pure: no files, no clock.

Level-triggered: the same question may be asked again at any time and after any restart. An
attempt goes through `unstarted`, `starting`, `running`, `stopping`, `ended`, never back, but
for a start that the box refused: then nothing has been started and it is `unstarted` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from berth.protocol.internal import DesiredAttempt, DesiredState
from berth.protocol.states import Outcome

Phase = Literal["unstarted", "starting", "running", "stopping", "ended"]
MOST_STARTS = 5


@dataclass(frozen=True, slots=True)
class StopTerms:
    """How an attempt is brought to its end."""

    grace: timedelta
    """Time between TERM and KILL."""
    warning: timedelta = timedelta()
    """How long it may take to save after the warning signal, before TERM; 0 is no warning."""

    @classmethod
    def of(cls, attempt: DesiredAttempt) -> StopTerms:
        """Who makes room for another is warned first; a cancel and an escape are not."""
        preempted = attempt.stop_reason is Outcome.PREEMPTED
        return cls(attempt.grace, attempt.warn_before if preempted else timedelta())


@dataclass(frozen=True, slots=True)
class Seen:
    """An attempt that this worker has looked at."""

    phase: Phase
    asked: StopTerms | None = None
    """On which terms it was last told to stop; None when it was not."""
    refusals: int = 0
    """How often the box refused to start a process for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the run directory what became of the attempt so far."""

    attempt: DesiredAttempt


@dataclass(frozen=True, slots=True)
class Start:
    """Start it: nobody ever did."""

    attempt: DesiredAttempt


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Start it no more: it ends as `launch_error`."""

    attempt: DesiredAttempt


@dataclass(frozen=True, slots=True)
class Refuse:
    """Make sure that it is never started: it was stopped before."""

    attempt: DesiredAttempt


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell its shim to end it."""

    attempt: DesiredAttempt


@dataclass(frozen=True, slots=True)
class Forget:
    """The server has no interest in it any more."""

    attempt: str


Action = Look | Start | GiveUp | Refuse | Stop | Forget


def decide(desired: DesiredState, seen: Mapping[str, Seen]) -> list[Action]:
    """The actions that lead from what is seen to what is desired; empty when all is well."""
    actions: list[Action] = []
    for attempt in desired.attempts:
        action = _for_one(attempt, seen.get(attempt.attempt))
        if action is not None:
            actions.append(action)
    wanted = {attempt.attempt for attempt in desired.attempts}
    actions.extend(Forget(name) for name in seen if name not in wanted)
    return actions


def _for_one(attempt: DesiredAttempt, seen: Seen | None) -> Action | None:
    if seen is None:
        return Look(attempt)
    stop = attempt.action == "stop"
    if seen.phase == "unstarted":
        if stop:
            return Refuse(attempt)
        return Start(attempt) if seen.refusals < MOST_STARTS else GiveUp(attempt)
    if stop and seen.phase != "ended" and seen.asked != StopTerms.of(attempt):
        return Stop(attempt)
    return None
