"""Dependencies between jobs: whether the other job's state fulfils one, or rules it out."""

from __future__ import annotations

from berth.protocol.dependencies import DependencyKind
from berth.protocol.states import JobState


def is_met(state: JobState, kind: DependencyKind) -> bool:
    """Return whether the other job has ended as it had to."""
    if kind is DependencyKind.AFTERANY:
        return state.is_final
    succeeded = state is JobState.SUCCEEDED
    return succeeded if kind is DependencyKind.AFTEROK else state.is_final and not succeeded


def is_lost(state: JobState, kind: DependencyKind) -> bool:
    """Return whether the other job has ended in the way it must not."""
    return state.is_final and not is_met(state, kind)
