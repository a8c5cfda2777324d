"""A user queues an ended job again."""

from __future__ import annotations

from collections.abc import Collection

from berth.protocol.message import Message, UserRef
from berth.protocol.states import JobState
from berth_server.core.dependencies import is_lost
from berth_server.core.explain.phrases import has_ended, job
from berth_server.service.attempts.status import set_job_state
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict
from berth_server.service.jobs import check, lookup
from berth_server.service.jobs.dependents import first_state
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import jobs
from berth_server.store.database import Transaction
from berth_server.store.records import JobRecord


def on_retry(server: ServerState, caller: Caller, job_id: int) -> None:
    """
    Queue an ended job again under its own id, with all its retries and its whole ladder.

    Raises NotFound, Forbidden, and Conflict for a job that has not ended, or whose
    dependency has failed.
    """
    record = lookup.job(server.db.read, job_id)
    may_retry(server, caller, record)
    with change(server, caller.user) as tx:
        queue_again(tx, record, Message.of(UserRef(name=caller.user), " retries it."))


def may_retry(
    server: ServerState, caller: Caller, record: JobRecord, together: Collection[int] = ()
) -> None:
    """Raise Forbidden or Conflict unless the job can be retried, along with `together`."""
    job_id = record.id
    caller.may_change(record)
    state = lookup.state_of(record)
    if not state.is_final:
        predicate = f" is {state.value}; only a job that has ended can be retried."
        raise Conflict(Message.of(job(job_id, first=True), predicate))
    check.still_fits(record, server.known_gpus)
    for other, other_state, _, kind in jobs.dependencies(server.db.read, [job_id]).get(job_id, ()):
        if is_lost(JobState(other_state), kind) and other not in together:
            raise Conflict(
                Message.of(
                    *(job(job_id, first=True), " depends on ", job(other)),
                    *(f", which {has_ended(other_state)}; retry ", job(other), " first."),
                )
            )


def queue_again(tx: Transaction, record: JobRecord, message: Message) -> None:
    """Put an ended job where it belongs, with all its retries and its whole ladder."""
    set_job_state(
        tx,
        record.id,
        first_state(tx, record),
        message,
        columns={"failures": 0, "oom_steps": 0, "exit_code": None, "resumes_at": None},
    )
