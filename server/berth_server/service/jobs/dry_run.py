"""Dry run: the plan with one more job at the end of the queue."""

from __future__ import annotations

from dataclasses import replace

from berth.commands import CommandError, LeaseFacts, Runtime, rewrite
from berth.protocol.attempts import Change
from berth.protocol.states import FenceKind
from berth.protocol.submits import DryRun
from berth_server.core.explain.explanation import explain
from berth_server.core.forecast import plan_with_forecast
from berth_server.core.model import JobView
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs import check, lengths, submit
from berth_server.service.jobs.check import Prepared
from berth_server.service.scheduling.snapshot import snapshot
from berth_server.service.state import ServerState
from berth_server.store import jobs
from berth_server.store.records import JobRecord


def dry_run(server: ServerState, caller: Caller, prepared: Prepared) -> DryRun:
    """
    Plan with the job at the end of the queue; nothing is written.

    Raises what a submit would: Invalid, Conflict, Forbidden.
    """
    submit.may_submit(server, caller)
    check.size(prepared, server.known_gpus)
    check.notices(prepared.spec.notify, server.options.notify_schemas)
    submit.within_limit(server, caller, 1)
    now = server.clock()
    job = _view(server, caller, prepared, now)
    seen = snapshot(server, now)
    seen = replace(seen, queue=(*seen.queue, job))
    plan = plan_with_forecast(seen, server.options.policy)
    explained = explain(seen, plan, job.id)
    start = plan.started.get(job.id)
    uuids = start.gpu_uuids if start else ()
    indices = sorted(gpu.index for gpu in seen.gpus if gpu.uuid in uuids)
    after, changes = _rewritten(server, prepared, indices)
    return DryRun(
        gpus=prepared.gpus,
        starts_now=start is not None,
        gpu_indices=indices,
        position=None if start else explained.position,
        expected_start=None if start else explained.expected_start,
        expected_start_p90=None if start else explained.expected_start_p90,
        expected_length=lengths.expected(server, caller.user, prepared),
        confidence=explained.confidence,
        summary=explained.summary,
        summary_parts=explained.summary_parts,
        summary_reason=explained.summary_reason,
        reasons=explained.reasons,
        # A job that was not submitted cannot be released.
        would_help=[] if prepared.spec.hold else explained.would_help,
        would_help_parts=[] if prepared.spec.hold else explained.would_help_parts,
        would_preempt=[p.job_id for p in plan.preemptions if p.for_job_id == job.id],
        launcher=prepared.view.launcher,
        before=prepared.view.text,
        after=after,
        changes=changes,
        warnings=[str(warning) for warning in prepared.warnings],
        warnings_parts=list(prepared.warnings),
    )


def would_be(
    server: ServerState, caller: Caller, prepared: Prepared
) -> tuple[JobRecord, list[jobs.DependencyRecord]]:
    """Return the row that a submit would write, and what it would wait for. Raises as a submit."""
    submit.may_submit(server, caller)
    check.size(prepared, server.known_gpus)
    return _row(server, caller, prepared, server.clock())


def _view(server: ServerState, caller: Caller, prepared: Prepared, now: float) -> JobView:
    return server.cache.view(*_row(server, caller, prepared, now))


def _row(
    server: ServerState, caller: Caller, prepared: Prepared, now: float
) -> tuple[JobRecord, list[jobs.DependencyRecord]]:
    reader = server.db.read
    kinds = submit.dependency_kinds(prepared)
    others = jobs.by_ids(reader, set(kinds))
    state = submit.first_state(prepared, {other.id: other.state for other in others}, now)
    needed = [jobs.DependencyRecord(o.id, o.state, o.name, kinds[o.id]) for o in others]
    record = submit.new_record(jobs.next_id(reader), state, caller, prepared, now)
    return record, needed


def _rewritten(
    server: ServerState, prepared: Prepared, indices: list[int]
) -> tuple[str | None, list[Change]]:
    """The command for the GPUs it would get; for the first ones of the box when it waits."""
    chosen = tuple(indices) or tuple(gpu.index for gpu in server.known_gpus[: prepared.gpus])
    if len(chosen) < prepared.gpus:
        chosen = tuple(range(prepared.gpus))
    uuids = {gpu.index: gpu.uuid for gpu in server.known_gpus}
    fenced = server.worker_state.fence is FenceKind.NAMESPACE
    snapshot = server.worker_state.snapshot
    lease = LeaseFacts(
        indices=chosen,
        visible=tuple(range(len(chosen))) if fenced else chosen,
        port=server.options.first_port if chosen else None,
        uuids=tuple(uuids[index] for index in chosen if index in uuids),
        simulated=snapshot is not None and snapshot.source == "simulated",
    )
    runtime = Runtime(python=prepared.spec.python or "python", accelerate_config="accelerate.yaml")
    try:
        done = rewrite(prepared.view, lease, runtime)
    except CommandError as error:
        return None, [Change(what=prepared.view.text, became="", why=str(error))]
    return done.after, list(done.changes)
