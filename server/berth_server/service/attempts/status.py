"""
Status setter: the only place where the status of a job or attempt changes.

Each change writes its audit event in the same transaction, so that the log cannot lie. A test
keeps every other `SET state` out of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.protocol.message import Message
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.store import events, jobs, messages
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord


def set_job_state(
    tx: Transaction,
    job_id: int,
    state: JobState,
    message: Message | str,
    *,
    outcome: Outcome | None = None,
    number: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> None:
    """
    Put a job into a state, with the sentence that its event tells.

    A final state sets `ended_at`, `outcome` and the job's own message; any other clears them.
    `columns` are further columns to set along with it.
    """
    final = state.is_final
    values: dict[str, Any] = {
        "state": state.value,
        "outcome": outcome.value if outcome else None,
        "ended_at": tx.now if final else None,
        "message": messages.encode(message) if final else None,
        **(columns or {}),
    }
    assignments = ", ".join(f"{name} = ?" for name in values)
    if state is JobState.QUEUED:
        # Its age counts from here, also when it is queued again after a failure.
        assignments += f", ready_at = COALESCE(ready_at, {tx.now!r})"
    elif not state.is_active and values.get("resumes_at") is None:
        # A pause after a failure keeps its place in the queue.
        assignments += ", ready_at = NULL"
    changed = tx.change(f"UPDATE jobs SET {assignments} WHERE id = ?", (*values.values(), job_id))  # noqa: S608 - names of our own columns
    assert changed == 1, f"job {job_id} is gone"
    tx.touched.add(job_id)
    tx.inserted.pop(job_id, None)
    # Those that wait for it tell its state when asked why.
    tx.touched.update(jobs.pending_dependents(tx, job_id))
    data = {"outcome": outcome.value} if outcome else None
    events.write(tx, f"job.{state}", message, job_id=job_id, number=number, data=data)


def set_attempt_state(
    tx: Transaction,
    job_id: int,
    number: int,
    state: AttemptState,
    columns: Mapping[str, Any] | None = None,
) -> None:
    """
    Put an attempt into a state; its event is that of its job, which changes along with it.

    `columns` are further columns to set along with it.
    """
    values: dict[str, Any] = {"state": state.value, **(columns or {})}
    if state is AttemptState.ENDED:
        values["ended_at"] = values.get("ended_at") or tx.now
    assignments = ", ".join(f"{name} = ?" for name in values)
    tx.execute(
        f"UPDATE attempts SET {assignments} WHERE job_id = ? AND number = ?",  # noqa: S608 - names of our own columns
        (*values.values(), job_id, number),
    )
    tx.touched.add(job_id)


def stop_attempt(
    tx: Transaction,
    record: AttemptRecord,
    reason: Outcome,
    message: Message | str,
    *,
    by_user: bool = True,
) -> None:
    """
    Tell the worker to stop an attempt that has not ended; it will end with outcome `reason`.

    An attempt that is being stopped already keeps its first reason, unless a cancel comes: the
    user's word stands over a preemption. The message stays with the attempt but for a cancel
    `by_user`, who knows of it.
    """
    if record.stop_reason is not None and reason is not Outcome.CANCELLED:
        return
    set_attempt_state(
        tx,
        record.job_id,
        record.number,
        AttemptState.STOPPING,
        {
            "stop_reason": reason.value,
            "message": None
            if reason is Outcome.CANCELLED and by_user
            else messages.encode(message),
        },
    )
    set_job_state(tx, record.job_id, JobState.STOPPING, message, number=record.number)
