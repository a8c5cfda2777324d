"""Jobs that wait for another job or for a start time: queue them, or fail them."""

from __future__ import annotations

from berth.protocol.dependencies import DependencyKind
from berth.protocol.message import Message
from berth.protocol.states import JobState, Outcome
from berth_server.core.dependencies import is_lost, is_met
from berth_server.core.explain.phrases import has_ended, job
from berth_server.service.attempts.status import set_job_state
from berth_server.store import jobs
from berth_server.store.database import Transaction
from berth_server.store.records import JobRecord


def first_state(tx: Transaction, record: JobRecord) -> JobState:
    """Return the state of a job that is not held: `waiting` for something, or `queued`."""
    not_before = record.not_before
    if not_before is not None and not_before > tx.now:
        return JobState.WAITING
    for other in jobs.dependencies(tx, [record.id]).get(record.id, ()):
        if not is_met(JobState(other.state), other.kind):
            return JobState.WAITING
    return JobState.QUEUED


def on_job_ended(tx: Transaction, job_id: int, state: JobState) -> None:
    """
    Queue the jobs that waited only for this one; end those that can never start now.

    Those that needed its success fail; those that needed its failure are cancelled. That goes on
    to whatever depends on them, however long the chain.
    """
    open_ends = [(job_id, state)]
    while open_ends:
        ended, how = open_ends.pop()
        for dependent in jobs.pending_dependents(tx, ended):
            record = jobs.get(tx, dependent)
            assert record is not None
            (needed,) = (
                other
                for other in jobs.dependencies(tx, [dependent])[dependent]
                if other.id == ended
            )
            if is_lost(how, needed.kind):
                open_ends.append((dependent, _end(tx, dependent, needed.kind, ended, how)))
            elif record.state == JobState.WAITING.value:
                requeue_if_ready(tx, record)


def _end(
    tx: Transaction, dependent: int, kind: DependencyKind, ended: int, how: JobState
) -> JobState:
    """End a job that can never start now; the state it gets."""
    unneeded = kind is DependencyKind.AFTERNOTOK
    state = JobState.CANCELLED if unneeded else JobState.FAILED
    why = (
        "so this one, which was to run only if it failed, is not needed."
        if unneeded
        else "so this one, which depends on it, cannot start."
    )
    set_job_state(
        tx,
        dependent,
        state,
        Message.of(job(ended, first=True), f" {has_ended(how)}, {why}"),
        outcome=Outcome.CANCELLED if unneeded else Outcome.DEPENDENCY_FAILED,
    )
    return state


def requeue_if_ready(tx: Transaction, record: JobRecord) -> None:
    """Queue a waiting job once nothing blocks it any more."""
    if first_state(tx, record) is JobState.QUEUED:
        set_job_state(tx, record.id, JobState.QUEUED, "Everything it waited for has come.")
