"""A user queues an ended job again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.protocol.states import JobState
from berth_server.service import check, find
from berth_server.service.callers import Caller
from berth_server.service.dependents import first_state
from berth_server.service.errors import Conflict
from berth_server.service.state import set_job_state
from berth_server.service.wording import has_ended
from berth_server.store import jobs

if TYPE_CHECKING:
    from berth_server.service.service import Service


def on_retry(service: Service, caller: Caller, job_id: int) -> None:
    """
    Queue an ended job again under its own id, with all its retries and its whole ladder.

    Raises NotFound, Forbidden, and Conflict for a job that has not ended, or whose
    dependency has failed.
    """
    record = find.job(service.db.read, job_id)
    caller.may_change(record)
    state = find.state_of(record)
    if not state.is_final:
        raise Conflict(f"Job {job_id} is {state.value}; only a job that has ended can be retried.")
    check.still_fits(record, service.known_gpus)
    for other, other_state, _ in jobs.dependencies(service.db.read, [job_id]).get(job_id, ()):
        if other_state in {JobState.FAILED.value, JobState.CANCELLED.value}:
            raise Conflict(
                f"Job {job_id} depends on job {other}, which {has_ended(other_state)}; retry job {other} first."
            )
    with service.change(caller.user) as tx:
        set_job_state(
            tx,
            job_id,
            first_state(tx, record),
            f"{caller.user} retries it.",
            columns={"failures": 0, "oom_steps": 0, "exit_code": None},
        )
