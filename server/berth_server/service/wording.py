"""Words that several sentences share."""

from __future__ import annotations

from berth.protocol.states import JobState


def has_ended(state: JobState | str, *, already: bool = False) -> str:
    """How a job ended, as the predicate of a sentence: `has succeeded`, `was cancelled`."""
    value = JobState(state)
    verb = "was" if value is JobState.CANCELLED else "has"
    return f"{verb} already {value.value}" if already else f"{verb} {value.value}"
