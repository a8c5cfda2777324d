"""Jobs that wait for another job or for a start time: queue them, or fail them."""

from __future__ import annotations

from berth.protocol.message import Message
from berth.protocol.states import JobState, Outcome
from berth_server.core.explain.phrases import has_ended, job
from berth_server.service.attempts.status import set_job_state
from berth_server.store import jobs
from berth_server.store.database import Transaction
from berth_server.store.records import JobRecord


def first_state(tx: Transaction, record: JobRecord) -> JobState:
    """Return the state of a job that is not held: `waiting` for something, or `queued`."""
    not_before = record.spec.not_before
    if not_before is not None and not_before.timestamp() > tx.now:
        return JobState.WAITING
    for _, state, _ in jobs.dependencies(tx, [record.id]).get(record.id, ()):
        if state != JobState.SUCCEEDED.value:
            return JobState.WAITING
    return JobState.QUEUED


def on_job_ended(tx: Transaction, job_id: int, state: JobState) -> None:
    """
    Queue the jobs that waited only for this one; fail those that can never start now.

    Failing goes on to whatever depends on those, however long the chain.
    """
    open_ends = [(job_id, state)]
    while open_ends:
        ended, how = open_ends.pop()
        for dependent in jobs.pending_dependents(tx, ended):
            record = jobs.get(tx, dependent)
            assert record is not None
            if how is not JobState.SUCCEEDED:
                set_job_state(
                    tx,
                    dependent,
                    JobState.FAILED,
                    Message.of(
                        job(ended, first=True),
                        f" {has_ended(how)}, so this one, which depends on it, cannot start.",
                    ),
                    outcome=Outcome.DEPENDENCY_FAILED,
                )
                open_ends.append((dependent, JobState.FAILED))
            elif record.state == JobState.WAITING.value:
                requeue_if_ready(tx, record)


def requeue_if_ready(tx: Transaction, record: JobRecord) -> None:
    """Queue a waiting job once nothing blocks it any more."""
    if first_state(tx, record) is JobState.QUEUED:
        set_job_state(tx, record.id, JobState.QUEUED, "Everything it waited for has come.")
