"""Lookup of the job or attempt that a request names."""

from __future__ import annotations

from berth.protocol.message import Message
from berth.protocol.states import JobState
from berth_server.core.explain.phrases import code
from berth_server.core.explain.phrases import job as job_ref
from berth_server.service.errors import NotFound
from berth_server.store import attempts, jobs
from berth_server.store.database import Reader
from berth_server.store.records import AttemptRecord, JobRecord


def job(reader: Reader, job_id: int) -> JobRecord:
    """The job with this id. Raises NotFound."""
    found = jobs.get(reader, job_id)
    if found is None:
        shows = (code("berth ls"), " shows which there are.")
        raise NotFound(Message.of(f"There is no job {job_id}; ", *shows))
    return found


def attempt(reader: Reader, job_id: int, number: int | None) -> AttemptRecord | None:
    """
    An attempt of a job; without a number its newest, None when it has none yet.

    Raises NotFound for a job or a number that does not exist.
    """
    owner = job(reader, job_id)
    if number is None:
        return attempts.last(reader, job_id)
    found = attempts.get(reader, job_id, number)
    if found is None:
        had = f"it had {owner.attempts} so far" if owner.attempts else "it has none yet"
        raise NotFound(Message.of(job_ref(job_id, first=True), f" has no attempt {number}; {had}."))
    return found


def state_of(record: JobRecord) -> JobState:
    """A job's state as the closed vocabulary."""
    return JobState(record.state)
