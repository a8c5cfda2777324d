"""Plan with a job that asks for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from berth.protocol.message import Message
from berth.protocol.states import PENDING_STATES
from berth.protocol.submits import WhatIf, WhatIfOption
from berth_server.core.explain.phrases import has_ended, job
from berth_server.core.explain.variants import Request, Varies, variants
from berth_server.core.forecast import plan_with_forecast
from berth_server.core.model import JobView, Plan, Snapshot
from berth_server.core.settings import PolicySettings
from berth_server.service.errors import Conflict
from berth_server.service.jobs import check, lookup
from berth_server.service.scheduling.snapshot import snapshot
from berth_server.service.state import ServerState
from berth_server.store import jobs
from berth_server.store.jobs import DependencyRecord
from berth_server.store.records import JobRecord

Option = tuple[Varies, Request, JobView]


def pending(server: ServerState, job_id: int) -> JobRecord:
    """Return a job that has not started. Raises NotFound, and Conflict for any other."""
    record = lookup.job(server.db.read, job_id)
    state = lookup.state_of(record)
    if state in PENDING_STATES:
        return record
    verb = has_ended(state) if state.is_final else f"is {state.value}"
    rest = "; only a job that has not started has an expected start."
    raise Conflict(Message.of(job(job_id, first=True), f" {verb}{rest}"))


def changed(record: JobRecord, changes: dict[str, Any]) -> JobRecord:
    """Return a job's row as if it had asked for something else."""
    return replace(record, spec=record.spec.model_copy(update=changes)) if changes else record


def view_of(server: ServerState, record: JobRecord) -> JobView:
    """Return a pending job as the scheduler would see it."""
    others = jobs.dependencies(server.db.read, [record.id]).get(record.id, ())
    return server.cache.view(record, others)


def tried(server: ServerState, record: JobRecord, changes: dict[str, Any]) -> Snapshot:
    """
    Return the present box and queue with one job asking for something else.

    Raises Conflict where the box could never run it.
    """
    other = changed(record, changes)
    check.still_fits(other, server.known_gpus)
    return _with(snapshot(server, server.clock()), view_of(server, other))


def options(
    server: ServerState, record: JobRecord, needed: Sequence[DependencyRecord]
) -> tuple[Snapshot, list[Option]]:
    """Return the present snapshot and the job's variants, for `starts` to plan with."""
    spec = record.spec
    asked = Request(
        gpus=record.gpus,
        time_limit=spec.time_limit,
        gpu_memory=spec.gpu_memory,
        share=spec.share,
        preemptible=spec.preemptible,
    )
    memories = [gpu.memory_total_bytes for gpu in server.known_gpus]
    # Over several nodes the numbers of GPUs are those of nodes: only the rest varies.
    wanted: list[tuple[Varies, Request]] = [
        (varies, request)
        for varies, request in variants(asked, memories)
        if varies != "gpus" or (spec.nodes or 1) == 1
    ]
    found: list[Option] = [
        (
            varies,
            request,
            server.cache.view(
                changed(
                    record,
                    {
                        "gpus": request.gpus,
                        "time_limit": request.time_limit,
                        "gpu_memory": request.gpu_memory,
                        "share": request.share,
                        "preemptible": request.preemptible,
                    },
                ),
                needed,
            ),
        )
        for varies, request in wanted
    ]
    return snapshot(server, server.clock()), found


def starts(seen: Snapshot, found: Sequence[Option], settings: PolicySettings) -> WhatIf:
    """Plan with each variant. Pure, and as costly as so many forecasts: run it on a thread."""
    index = {gpu.uuid: gpu.index for gpu in seen.gpus}
    return WhatIf(
        options=[
            _option(seen.now, plan_with_forecast(_with(seen, view), settings), one, index)
            for one in found
            for view in (one[2],)
        ]
    )


def _with(seen: Snapshot, view: JobView) -> Snapshot:
    """The snapshot with this job in the place of the one with its id, or at the end."""
    if any(one.id == view.id for one in seen.queue):
        return replace(seen, queue=tuple(view if one.id == view.id else one for one in seen.queue))
    return replace(seen, queue=(*seen.queue, view))


def _option(now: Any, plan: Plan, option: Option, index: dict[str, int]) -> WhatIfOption:
    varies, request, view = option
    start = plan.started.get(view.id)
    expected = plan.expected.get(view.id)
    uuids = start.gpu_uuids if start else expected.gpu_uuids if expected else ()
    length = _length(view)
    return WhatIfOption(
        varies=varies,
        gpus=request.gpus,
        time_limit=request.time_limit,
        gpu_memory=request.gpu_memory,
        share=request.share,
        preemptible=request.preemptible,
        starts_now=start is not None,
        gpu_indices=sorted(index[uuid] for uuid in uuids if uuid in index),
        position=None if start else plan.positions.get(view.id),
        expected_start=None if start or expected is None else max(now, expected.at),
        expected_start_p90=None if start or expected is None else max(now, expected.late),
        expected_end=(now + length if length else None)
        if start
        else None
        if expected is None
        else expected.ends_at,
        confidence="certain" if start else expected.confidence if expected else "unknown",
        would_preempt=[one.job_id for one in plan.preemptions if one.for_job_id == view.id],
    )


def _length(view: JobView) -> timedelta | None:
    seconds = view.expected_s
    return view.time_limit if seconds is None else timedelta(seconds=seconds)
