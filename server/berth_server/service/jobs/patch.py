"""A user changes a job that has not started, or gives a running one more time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from berth.protocol.jobs import JobPatch
from berth.protocol.message import Message, UserRef, quoted
from berth.protocol.specs import WARN_BEFORE
from berth.protocol.states import PENDING_STATES, JobState
from berth_server.core.explain.phrases import exactly, has_ended, job
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Invalid
from berth_server.service.jobs import check, lookup
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, jobs
from berth_server.store.records import JobRecord


def on_patch(server: ServerState, caller: Caller, job_id: int, patch: JobPatch) -> None:
    """
    Change what a job asks for; `time_limit: null` takes the limit away.

    Raises NotFound, Forbidden, Invalid (null where a value is needed), and Conflict for a job
    that has ended, or that runs where more is asked for than a longer time limit.
    """
    record = lookup.job(server.db.read, job_id)
    caller.may_change(record)
    given = patch.model_fields_set
    for name in given - {"time_limit"}:
        if getattr(patch, name) is None:
            predicate = " cannot be null; leave it out to keep it."
            raise Invalid(Message.of(quoted(name), predicate), name)
    state = lookup.state_of(record)
    if state not in PENDING_STATES and not _gives_time(record, state, patch):
        verb = has_ended(state) if state.is_final else f"is {state.value}"
        rest = "; only a job that has not started can be changed, and one that runs only be given "
        raise Conflict(Message.of(job(job_id, first=True), f" {verb}{rest}a longer time limit."))
    _keeps_its_warning(record, patch.time_limit)
    changes = {
        name: getattr(patch, name)
        for name in JobPatch.model_fields
        if name in given and getattr(record.spec, name) != getattr(patch, name)
    }
    if not changes:
        return
    if "gpus" in changes:
        _may_have(server, record, changes["gpus"])
    with change(server, caller.user) as tx:
        jobs.change(tx, job_id, jobs.spec_columns(record.spec.model_copy(update=changes)))
        fields = ", ".join(name.replace("_", " ") for name in changes)
        message = Message.of(UserRef(name=caller.user), f" changed its {fields}.")
        events.write(tx, "job.changed", message, job_id=job_id, data=_event_data(changes))


def _may_have(server: ServerState, record: JobRecord, gpus: int) -> None:
    """Raise Invalid for a number of GPUs that a job of its kind, or any on this box, cannot have."""
    spec = record.spec
    if spec.share or (spec.nodes or 1) > 1:
        kind = "has a share of one GPU" if spec.share else "runs over several nodes"
        message = Message.of(
            job(record.id, first=True), f" {kind}; submit a copy with another number of GPUs."
        )
        raise Invalid(message, "gpus")
    other = replace(record, spec=spec.model_copy(update={"gpus": gpus}))
    try:
        check.still_fits(other, server.known_gpus)
    except Conflict as error:
        raise Invalid(error.message, "gpus") from None


def _gives_time(record: JobRecord, state: JobState, patch: JobPatch) -> bool:
    """True if a running job is given a longer time limit, or none, and nothing else."""
    if state not in {JobState.STARTING, JobState.RUNNING} or patch.model_fields_set != {
        "time_limit"
    }:
        return False
    limit = record.spec.time_limit
    if limit is None:
        return patch.time_limit is None
    return patch.time_limit is None or patch.time_limit >= limit


def _event_data(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the new values as an event shows them: durations in seconds, named `…_s`."""
    return {
        f"{name}_s" if name == "time_limit" else name: (
            value.total_seconds() if isinstance(value, timedelta) else value
        )
        for name, value in changes.items()
    }


def _keeps_its_warning(record: JobRecord, limit: timedelta | None) -> None:
    """A warning that was asked for has to fit into the limit; the default stands for any."""
    warning = record.spec.warn_before
    if limit is None or warning <= limit or warning == WARN_BEFORE:
        return
    early = exactly(warning)
    message = Message.of(
        *("It asked to be warned ", early, " before the limit, which ", exactly(limit)),
        *(" leaves no time for; give at least ", early, "."),
    )
    raise Invalid(message, "time_limit")
