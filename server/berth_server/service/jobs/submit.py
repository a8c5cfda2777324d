"""A user submits jobs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berth.invalid import ordinal
from berth.protocol import dependencies
from berth.protocol.dependencies import DependencyKind
from berth.protocol.message import Message, UserRef
from berth.protocol.states import JobState
from berth_server.core.dependencies import is_lost, is_met
from berth_server.core.explain.limit_reached import limit_message
from berth_server.core.explain.phrases import code, gib_used, has_ended, job
from berth_server.core.limits import submit_exceeds
from berth_server.service.auth.callers import Caller, user_name
from berth_server.service.errors import Conflict, Forbidden, Invalid
from berth_server.service.jobs import check
from berth_server.service.jobs.check import Prepared
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, idempotency, jobs, messages
from berth_server.store.database import Reader, Transaction
from berth_server.store.records import JobRecord


@dataclass(slots=True, frozen=True)
class Submitted:
    """The jobs of a submit, new or from an earlier one with the same key."""

    first_id: int
    count: int
    repeated: bool = False

    @property
    def ids(self) -> range:
        """Ids in the order of the list."""
        return range(self.first_id, self.first_id + self.count)


def may_submit(server: ServerState, caller: Caller) -> None:
    """Raise Forbidden when this server cannot run jobs as the caller."""
    if caller.admin or os.geteuid() == 0 or server.options.allow_other_users:
        return
    mine = user_name(os.geteuid())
    raise Forbidden(
        f"This Berth runs as {mine} and could start your job only as {mine}; ask for a Berth run by "
        f"root, or let {mine} set allow_other_users = true in berth.toml."
    )


def repeated(server: ServerState, caller: Caller, key: str | None, body: bytes) -> Submitted | None:
    """Return the jobs of the same earlier submit. Raises Conflict if the key had another body."""
    if key is None:
        return None
    known = idempotency.get(server.db.read, caller.uid, key)
    if known is None:
        return None
    if known.digest != _digest(body):
        raise Conflict(
            "This Idempotency-Key was used for a different submit; make a new key for each submit."
        )
    return Submitted(known.first_id, known.count, repeated=True)


def on_submit(
    server: ServerState,
    caller: Caller,
    prepared: Sequence[Prepared],
    *,
    many: bool = False,
    key: str | None = None,
    body: bytes = b"",
) -> Submitted:
    """
    Write jobs: all of them or none. They are on disk when this returns, and what can start
    has started.

    `many` says that a list came, so that the fields of a refusal carry the position in it.
    """
    may_take(server, caller, prepared, many=many)
    with change(server, caller.user) as tx:
        first = write_jobs(tx, caller, prepared, many=many)
        if key is not None:
            remember(tx, caller, key, body, Submitted(first, len(prepared)))
    return Submitted(first, len(prepared))


def may_take(
    server: ServerState, caller: Caller, prepared: Sequence[Prepared], *, many: bool
) -> None:
    """Raise Forbidden, Invalid or Conflict when the box or the policy cannot take these jobs."""
    may_submit(server, caller)
    for position, one in enumerate(prepared):
        try:
            check.size(one, server.known_gpus)
            check.notices(one.spec.notify, server.options.notify_schemas)
        except Invalid as error:
            raise at_position(error, position, many=many) from None
    within_limit(server, caller, len(prepared))


def write_jobs(
    tx: Transaction,
    caller: Caller,
    prepared: Sequence[Prepared],
    *,
    many: bool,
    ablation: str | None = None,
) -> int:
    """Write new jobs with what belongs to them; the first id. Raises Invalid."""
    first = jobs.next_id(tx)
    records: list[JobRecord] = []
    waits: list[tuple[int, int, str]] = []
    states = dependency_states(tx, prepared)
    for position, one in enumerate(prepared):
        state = first_state(one, states, tx.now, f"{position}." if many else "")
        record = new_record(first + position, state, caller, one, tx.now, ablation)
        records.append(record)
        kinds = dependency_kinds(one)
        waits += [(record.id, other, kind.value) for other, kind in kinds.items()]
    jobs.insert(tx, records, [one.columns for one in prepared])
    jobs.insert_dependencies(tx, waits)
    jobs.insert_labels(
        tx,
        [
            (r.id, k, v)
            for r, one in zip(records, prepared, strict=True)
            for k, v in one.spec.labels.items()
        ],
    )
    tx.many(events.INSERT, [_event(record, tx) for record in records])
    tx.events += len(records)
    tx.touched.update(range(first, first + len(records)))
    tx.inserted.update({record.id: record for record in records})
    return first


def remember(tx: Transaction, caller: Caller, key: str, body: bytes, made: Submitted) -> None:
    """Store the key of a submit, so that a repeated one is recognised."""
    idempotency.put(tx, caller.uid, key, _digest(body), made.first_id, made.count)


def within_limit(server: ServerState, caller: Caller, new: int) -> None:
    """Raise Conflict when the caller would have more pending jobs than the policy allows."""
    if not server.options.policy.limits_queued_jobs:
        return
    policy = server.options.policy
    pending = server.cache.pending_of(caller.user)
    group = server.groups.of(caller.user)
    hit = submit_exceeds(policy, moment(server.clock()), caller.user, group, pending, new)
    if hit is not None:
        rest = f" So {new} more cannot be taken; wait until some have started, or cancel some."
        raise Conflict(Message.of(limit_message(hit), rest))


def at_position(error: Invalid, position: int, *, many: bool) -> Invalid:
    """Return the same refusal for one job of a list."""
    if not many:
        return error
    message = Message.of(f"The {ordinal(position)} job of the list: ", error.message)
    return Invalid(message, None if error.field is None else f"{position}.{error.field}")


def dependency_states(reader: Reader, prepared: Sequence[Prepared]) -> dict[int, str]:
    """The states of all jobs that these depend on; those that do not exist are left out."""
    wanted = {other for one in prepared for other in dependency_kinds(one)}
    return {job.id: job.state for job in jobs.by_ids(reader, wanted)} if wanted else {}


def dependency_kinds(one: Prepared) -> dict[int, DependencyKind]:
    """The jobs that a spec depends on, and how each has to end."""
    found = map(dependencies.parse, one.spec.depends_on)
    return {each.job_id: each.kind for each in found}


def first_state(one: Prepared, states: Mapping[int, str], now: float, prefix: str = "") -> JobState:
    """
    The state a new job gets; `states` are those of the jobs it depends on.

    Raises Invalid for a job that does not exist or will never succeed.
    """
    waiting = False
    for other, kind in dependency_kinds(one).items():
        state = states.get(other)
        if state is None:
            rest = (code("berth ls"), " shows which there are.")
            message = Message.of(f"There is no job {other} to depend on; ", *rest)
            raise Invalid(message, f"{prefix}depends_on")
        if is_lost(JobState(state), kind) and kind is DependencyKind.AFTERNOTOK:
            never = f" {has_ended(state)}, so a job that runs only if it fails would never start."
            raise Invalid(Message.of(job(other, first=True), never), f"{prefix}depends_on")
        if is_lost(JobState(state), kind):
            never = f" {has_ended(state)}, so a job that depends on it would never start; retry "
            message = Message.of(job(other, first=True), never, job(other), " first.")
            raise Invalid(message, f"{prefix}depends_on")
        waiting = waiting or not is_met(JobState(state), kind)
    if one.spec.hold:
        return JobState.HELD
    later = one.spec.not_before is not None and one.spec.not_before.timestamp() > now
    return JobState.WAITING if waiting or later else JobState.QUEUED


def new_record(
    job_id: int,
    state: JobState,
    caller: Caller,
    one: Prepared,
    now: float,
    ablation: str | None = None,
) -> JobRecord:
    """Return the row of a new job."""
    return JobRecord(
        id=job_id,
        spec=one.resolved,
        state=state.value,
        user=caller.user,
        uid=caller.uid,
        queued_at=now,
        warnings=messages.encode_all(one.warnings) if one.warnings else "[]",
        ready_at=now if state is JobState.QUEUED else None,
        ablation=ablation,
        snapshot=None if one.snapshot is None else one.snapshot.model_dump_json(),
        work=None if one.work is None else one.work.encode(),
    )


def _event(record: JobRecord, tx: Transaction) -> tuple[object, ...]:
    count = "no GPU" if not record.gpus else "1 GPU" if record.gpus == 1 else f"{record.gpus} GPUs"
    if record.share_bytes is not None:
        count = f"{gib_used(record.share_bytes)} of a GPU"
    predicate = f" submitted {record.name} for {count}; it is {record.state}."
    message = messages.encode(Message.of(UserRef(name=record.user), predicate))
    data = f'{{"state":"{record.state}"}}'
    return (tx.now, "job.submitted", tx.actor, record.id, None, None, message, data)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
