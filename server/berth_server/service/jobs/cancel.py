"""A user cancels a job."""

from __future__ import annotations

from berth.protocol.message import Message, UserRef
from berth.protocol.states import JobState, Outcome
from berth_server.core.explain.phrases import has_ended, job
from berth_server.service.attempts.status import set_job_state, stop_attempt
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict
from berth_server.service.jobs import lookup
from berth_server.service.jobs.dependents import on_job_ended
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import attempts


def on_cancel(server: ServerState, caller: Caller, job_id: int) -> None:
    """
    End a job: a pending one at once, one with a living attempt by stopping that.

    Cancelling a job that is cancelled, or being cancelled, changes nothing. Raises NotFound,
    Forbidden, and Conflict for a job that has ended otherwise.
    """
    record = lookup.job(server.db.read, job_id)
    caller.may_change(record)
    state = lookup.state_of(record)
    if state is JobState.CANCELLED:
        return
    if state.is_final:
        predicate = f" {has_ended(state, already=True)}; there is nothing to cancel."
        raise Conflict(Message.of(job(job_id, first=True), predicate))
    attempt = attempts.last(server.db.read, job_id) if state.is_active else None
    if attempt is not None and attempt.stop_reason == Outcome.CANCELLED.value:
        return
    with change(server, caller.user) as tx:
        message = Message.of(UserRef(name=caller.user), " cancelled it.")
        if attempt is not None:
            stop_attempt(tx, attempt, Outcome.CANCELLED, message)
            return
        set_job_state(tx, job_id, JobState.CANCELLED, message, outcome=Outcome.CANCELLED)
        on_job_ended(tx, job_id, JobState.CANCELLED)
