"""A user makes, changes or reruns an ablation: its row and its jobs are one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from berth.protocol.ablations import (
    AblationMade,
    AblationPatch,
    AblationSpec,
    EarlyStop,
    RerunRequest,
)
from berth.protocol.message import Message, UserRef
from berth.protocol.specs import JobSpec
from berth.protocol.states import JobState, Outcome
from berth_server.core.explain.phrases import code
from berth_server.service.ablations.compare import LABEL
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Forbidden, Invalid, NotFound
from berth_server.service.jobs import lookup
from berth_server.service.jobs.check import Prepared
from berth_server.service.jobs.retry import may_retry, queue_again
from berth_server.service.jobs.submit import Submitted, may_take, remember, write_jobs
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import ablations, events, jobs
from berth_server.store.database import Transaction
from berth_server.store.records import AblationRecord, JobRecord

_MOST = 10_000
_LISTED = (code("berth ablate ls"), " shows which there are.")


@dataclass(slots=True, frozen=True)
class Wanted:
    """The jobs that an AblationSpec makes, and how many of its cells exist already."""

    specs: list[JobSpec]
    skipped: int


def wanted(server: ServerState, caller: Caller, spec: AblationSpec) -> Wanted:
    """
    The job of each cell, labelled with the ablation and its values.

    Raises Invalid, Forbidden for another user's ablation, and Conflict for a name that is
    taken while nothing is to be added to it.
    """
    seen: set[frozenset[tuple[str, str]]] = set()
    known = _known(server, caller, spec)
    specs: list[JobSpec] = []
    for i, cell in enumerate(spec.cells):
        if LABEL in cell.values:
            said = f"A value cannot be called {LABEL!r}, which names the ablation; rename it."
            raise Invalid(said, f"cells.{i}.values")
        key = frozenset(cell.values.items())
        if key in seen:
            values = ", ".join(f"{name}={value}" for name, value in cell.values.items())
            sentence = f"Two cells have the same values ({values}); keep one of them."
            raise Invalid(sentence, f"cells.{i}.values")
        seen.add(key)
        if not any(key <= labels for labels in known):
            labels = {**cell.job.labels, **cell.values, LABEL: spec.name}
            specs.append(cell.job.model_copy(update={"labels": labels}))
    return Wanted(specs, len(spec.cells) - len(specs))


def on_ablation(
    server: ServerState,
    caller: Caller,
    spec: AblationSpec,
    prepared: Sequence[Prepared],
    *,
    key: str | None = None,
    body: bytes = b"",
) -> Submitted:
    """
    Write an ablation with its jobs (`prepared`, in the order of `wanted`), all or nothing.

    With `add` its caps and its rule become those of the spec. Raises as `on_submit` does.
    """
    may_take(server, caller, prepared, many=True)
    before = _mine(server, caller, spec)
    with change(server, caller.user) as tx:
        caps = _columns(spec.max_running, spec.max_gpu_hours, spec.early_stop)
        if before is None:
            row = AblationRecord(
                id=spec.name,
                user=caller.user,
                uid=caller.uid,
                used_gpu_s=0.0,
                created_at=tx.now,
                **caps,
            )
            ablations.insert(tx, row)
        else:
            _set(tx, spec.name, caps)
        first = write_jobs(tx, caller, prepared, many=True, ablation=spec.name)
        made = Submitted(first, len(prepared))
        runs = "1 run" if made.count == 1 else f"{made.count} runs"
        verb = "made" if before is None else "added to"
        message = Message.of(UserRef(name=caller.user), f" {verb} ablation {spec.name}: {runs}.")
        facts = {"ablation": spec.name, "first_job": first, "jobs": made.count}
        events.write(tx, "ablation.submitted", message, data=facts)
        if key is not None:
            remember(tx, caller, key, body, made)
    return made


def made(spec: AblationSpec, done: Submitted, prepared: Sequence[Prepared]) -> AblationMade:
    """The answer to an AblationSpec."""
    warnings = list(dict.fromkeys(warning for one in prepared for warning in one.warnings))
    return AblationMade(
        id=spec.name,
        ids=list(done.ids),
        skipped=len(spec.cells) - done.count,
        warnings=[str(warning) for warning in warnings],
        warnings_parts=warnings,
    )


def on_change(server: ServerState, caller: Caller, ablation_id: str, patch: AblationPatch) -> None:
    """Set caps or the rule; null lifts them. Raises NotFound and Forbidden."""
    record = ablations.get(server.db.read, ablation_id)
    if record is None:
        raise NotFound(Message.of(f"There is no ablation {ablation_id!r} with caps; ", *_LISTED))
    _may_change(caller, record)
    given = patch.model_fields_set
    columns = _columns(patch.max_running, patch.max_gpu_hours, patch.early_stop)
    changes = {name: value for name, value in columns.items() if name in given}
    if not changes:
        return
    with change(server, caller.user) as tx:
        _set(tx, ablation_id, changes)
        fields = ", ".join(name.replace("_", " ") for name in changes)
        message = Message.of(
            UserRef(name=caller.user), f" changed {fields} of ablation {ablation_id}."
        )
        events.write(tx, "ablation.changed", message, data={"ablation": ablation_id, **changes})


def on_rerun(
    server: ServerState, caller: Caller, ablation_id: str, request: RerunRequest
) -> list[int]:
    """
    Queue ended cells again under their own ids, all in one transaction; their ids.

    Raises NotFound, Forbidden, and Conflict when there is nothing to rerun, or a job cannot be
    retried.
    """
    records = jobs.page(server.db.read, labels=[(LABEL, ablation_id)], limit=_MOST)[::-1]
    if not records:
        raise NotFound(Message.of(f"There is no ablation {ablation_id!r}; ", *_LISTED))
    chosen = [record for record in records if _is_chosen(record, request)]
    if not chosen:
        what = {"failed": "has failed", "cancelled": "has failed or was cancelled"}
        ending = what.get(request.which, "has ended")
        raise Conflict(f"No run of {ablation_id} {ending}, so there is nothing to run again.")
    together = {record.id for record in chosen}
    for record in chosen:
        may_retry(server, caller, record, together)
    with change(server, caller.user) as tx:
        for record in chosen:
            message = Message.of(
                UserRef(name=caller.user), f" reruns it with ablation {ablation_id}."
            )
            queue_again(tx, record, message)
    return [record.id for record in chosen]


def _is_chosen(record: JobRecord, request: RerunRequest) -> bool:
    state = lookup.state_of(record)
    if request.which == "all":
        return state.is_final
    if state is JobState.FAILED:
        return True
    stopped = record.outcome == Outcome.EARLY_STOPPED.value
    return request.which == "cancelled" and state is JobState.CANCELLED and not stopped


def _known(
    server: ServerState, caller: Caller, spec: AblationSpec
) -> list[frozenset[tuple[str, str]]]:
    """The labels of the jobs that the ablation has already. Raises Conflict and Forbidden."""
    before = _mine(server, caller, spec)
    if before is None:
        return []
    records = jobs.page(server.db.read, labels=[(LABEL, spec.name)], limit=_MOST)
    return [frozenset(record.spec.labels.items()) for record in records if record.ablation]


def _mine(server: ServerState, caller: Caller, spec: AblationSpec) -> AblationRecord | None:
    before = ablations.get(server.db.read, spec.name)
    if before is None:
        return None
    _may_change(caller, before)
    if not spec.add:
        raise Conflict(
            Message.of(
                f"There is an ablation {spec.name!r} already; give this one another name, or add "
                "its new cells to that one (",
                code("berth ablate FILE --add"),
                ").",
            )
        )
    return before


def _may_change(caller: Caller, record: AblationRecord) -> None:
    if record.uid != caller.uid and not caller.admin:
        raise Forbidden(
            f"Ablation {record.id!r} belongs to {record.user}; choose another name, or ask "
            f"{record.user} or an admin to change it."
        )


def _set(tx: Transaction, ablation_id: str, columns: dict[str, Any]) -> None:
    ablations.change(tx, ablation_id, columns)
    # Jobs that its caps block are planned again.
    tx.touched.update(ablations.pending(tx, ablation_id))


def _columns(
    max_running: int | None, max_gpu_hours: float | None, early_stop: EarlyStop | None
) -> dict[str, Any]:
    rule = None if early_stop is None else json.dumps(early_stop.model_dump(exclude_unset=True))
    return {"max_running": max_running, "max_gpu_hours": max_gpu_hours, "early_stop": rule}
