"""Wording that several sentences share."""

from __future__ import annotations

from datetime import UTC, datetime

from berth.protocol.states import JobState
from berth_server.core.explain.phrases import clock


def has_ended(state: JobState | str, *, already: bool = False) -> str:
    """Return the end of a job as the predicate of a sentence: `has succeeded`, `was cancelled`."""
    value = JobState(state)
    verb = "was" if value is JobState.CANCELLED else "has"
    return f"{verb} already {value.value}" if already else f"{verb} {value.value}"


def clock_time(value: float) -> str:
    """Unix seconds for people: `2026-11-24 14:05 UTC`."""
    return str(clock(datetime.fromtimestamp(value, UTC)))
