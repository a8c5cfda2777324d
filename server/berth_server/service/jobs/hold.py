"""A user holds a job, or releases it."""

from __future__ import annotations

from berth.protocol.message import Message, UserRef
from berth.protocol.states import PENDING_STATES, JobState
from berth_server.core.explain.phrases import has_ended, job
from berth_server.service.attempts.status import set_job_state
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict
from berth_server.service.jobs import lookup
from berth_server.service.jobs.dependents import first_state
from berth_server.service.state import ServerState
from berth_server.service.transaction import change


def on_hold(server: ServerState, caller: Caller, job_id: int) -> None:
    """
    Keep a pending job from starting until it is released; a held one stays held.

    Raises NotFound, Forbidden, and Conflict for a job that has started or ended.
    """
    record = lookup.job(server.db.read, job_id)
    caller.may_change(record)
    state = lookup.state_of(record)
    if state is JobState.HELD:
        return
    if state not in PENDING_STATES:
        predicate = f" is {state.value}; only a job that has not started can be held. To stop it, cancel it."
        if state.is_final:
            predicate = f" {has_ended(state, already=True)}; there is nothing to hold."
        raise Conflict(Message.of(job(job_id, first=True), predicate))
    with change(server, caller.user) as tx:
        set_job_state(
            tx, job_id, JobState.HELD, Message.of(UserRef(name=caller.user), " holds it.")
        )


def on_release(server: ServerState, caller: Caller, job_id: int) -> None:
    """
    Let a held job start when its turn comes; a waiting or queued one stays as it is.

    Raises NotFound, Forbidden, and Conflict for a job that has started or ended.
    """
    record = lookup.job(server.db.read, job_id)
    caller.may_change(record)
    state = lookup.state_of(record)
    if state in {JobState.QUEUED, JobState.WAITING}:
        return
    if state is not JobState.HELD:
        predicate = has_ended(state, already=True) if state.is_final else f"is {state.value}"
        raise Conflict(
            Message.of(job(job_id, first=True), f" {predicate}; there is nothing to release.")
        )
    with change(server, caller.user) as tx:
        set_job_state(
            tx,
            job_id,
            first_state(tx, record),
            Message.of(UserRef(name=caller.user), " released it."),
        )
