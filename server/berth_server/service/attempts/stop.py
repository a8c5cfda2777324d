"""Request to stop an attempt that has not ended."""

from __future__ import annotations

from berth.protocol.message import Message
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.service.attempts.status import set_attempt_state, set_job_state
from berth_server.store import messages
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord


def stop_attempt(
    tx: Transaction, record: AttemptRecord, reason: Outcome, message: Message | str
) -> None:
    """
    Tell the worker to stop an attempt that has not ended; it will end with outcome `reason`.

    An attempt that is being stopped already keeps its first reason, unless a cancel comes: the
    user's word stands over a preemption. The message stays with the attempt but for a cancel,
    which its user knows of.
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
            "message": None if reason is Outcome.CANCELLED else messages.encode(message),
        },
    )
    set_job_state(tx, record.job_id, JobState.STOPPING, message, number=record.number)
