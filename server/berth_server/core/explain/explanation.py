"""Explanation of a job's place: the planner's own facts, put into sentences."""

from __future__ import annotations

from dataclasses import replace

from berth.protocol.explain import Explanation, Reason
from berth.protocol.message import Message
from berth.protocol.states import JobState
from berth_server.core.availability import AvailabilityProfile
from berth_server.core.explain.hints import hints
from berth_server.core.explain.phrases import gpu_list
from berth_server.core.explain.reasons import (
    behind,
    claimed,
    is_scattered,
    limit_reached,
    own_reasons,
    reason,
    reserved,
    scattered,
    taken,
    too_few,
    worker_down,
)
from berth_server.core.explain.start_reason import start_reason
from berth_server.core.forecast import forecast
from berth_server.core.limits import LimitUsage
from berth_server.core.model import ExpectedStart, JobView, Plan, RunningView, Snapshot
from berth_server.core.policy import fitting, walk


def explain(snapshot: Snapshot, plan: Plan, job_id: int) -> Explanation:
    """
    Explain a pending or running job of the snapshot; `plan` must be the one made from it.

    A pending job has no blocking reason exactly when `plan` starts it. Raises KeyError for a
    job that is neither in the queue nor running.
    """
    job = snapshot.pending.get(job_id)
    if job is not None:
        start = plan.started.get(job_id)
        return _starting(snapshot, plan, job) if start else _waiting(snapshot, plan, job)
    for run in snapshot.running:
        if run.job_id == job_id:
            return _running(snapshot, run)
    raise KeyError(job_id)


def without_later(snapshot: Snapshot, plan: Plan, job_id: int) -> tuple[Snapshot, Plan]:
    """
    The same box and plan with the jobs that a queued one is explained by, which is quicker.

    Those are the ones ahead of it, and those that the plan starts or keeps GPUs for.
    """
    ahead = plan.order[: plan.order.index(job_id) + 1]
    named = (*plan.started, *(claim.job_id for claim in plan.claims))
    queue = tuple(snapshot.pending[other] for other in dict.fromkeys((*ahead, *named)))
    return replace(snapshot, queue=queue), replace(plan, order=ahead)


def _running(snapshot: Snapshot, run: RunningView) -> Explanation:
    state = JobState.STOPPING if run.stopping else JobState.RUNNING
    if run.started_at is None and not run.stopping:
        state = JobState.STARTING
    gpus = [gpu for gpu in snapshot.gpus if gpu.uuid in run.gpu_uuids]
    why = reason(
        "running",
        f"It is {state.value}",
        *((" on ", gpu_list(gpus)) if gpus else ()),
        ".",
        blocking=False,
    )
    return Explanation(
        job_id=run.job_id,
        state=state,
        confidence="certain",
        summary=why.sentence,
        summary_parts=why.sentence_parts,
        summary_reason=0,
        reasons=[why],
    )


def _starting(snapshot: Snapshot, plan: Plan, job: JobView) -> Explanation:
    gpus = [gpu for gpu in snapshot.gpus if gpu.uuid in plan.started[job.id].gpu_uuids]
    summary = Message.of("It starts now", *((" on ", gpu_list(gpus)) if gpus else ()), ".")
    return Explanation(
        job_id=job.id,
        state=job.state,
        position=1,
        expected_start=snapshot.now,
        expected_start_p90=snapshot.now,
        confidence="certain",
        summary=str(summary),
        summary_parts=summary,
    )


def _waiting(snapshot: Snapshot, plan: Plan, job: JobView) -> Explanation:
    reasons = own_reasons(job, snapshot.now)
    profile: AvailabilityProfile | None = None
    position = plan.positions.get(job.id)
    if position is not None:
        if not snapshot.worker_ok:
            reasons.append(worker_down())
        else:
            profile = _box_reasons(snapshot, plan, job, reasons)
    expected = _expected(snapshot, plan, job, position)
    first = next((place for place, why in enumerate(reasons) if why.blocking), None)
    hangs_on = start_reason(snapshot, plan, job) if profile is not None else None
    if hangs_on is not None:
        first = None
    summary = Message.of("It is next.") if first is None else reasons[first].sentence_parts
    helpful = hints(snapshot, plan, job, profile, reasons)
    return Explanation(
        job_id=job.id,
        state=job.state,
        position=position,
        expected_start=expected.at if expected else None,
        expected_start_p90=expected.late if expected else None,
        confidence=expected.confidence if expected else "unknown",
        summary=str(hangs_on or summary),
        summary_parts=hangs_on or summary,
        summary_reason=first,
        reasons=reasons,
        would_help=[str(hint) for hint in helpful],
        would_help_parts=helpful,
    )


def _box_reasons(
    snapshot: Snapshot, plan: Plan, job: JobView, reasons: list[Reason]
) -> AvailabilityProfile | None:
    """Add what the box and the jobs ahead leave it without; return the profile as it finds it."""
    place = plan.order.index(job.id)
    before = plan.order[:place]
    profile, usage_now = (
        AvailabilityProfile(snapshot, plan.settings),
        LimitUsage(snapshot, plan.settings),
    )
    for _ in walk(profile, usage_now, [snapshot.pending[i] for i in before], plan.aged):
        pass
    exceeded = usage_now.exceeded(job) or usage_now.would_block(job, profile)
    if exceeded is not None:
        reasons.append(limit_reached(snapshot, exceeded))
    usable = profile.usable(job)
    if len(usable) < job.gpus:
        reasons.append(too_few(snapshot, job, len(usable)))
        return None
    if fitting(profile, job) is None:
        _gpu_reasons(snapshot, plan, job, profile, reasons)
    ahead = [i for i in before if i not in plan.started]
    if ahead:
        reasons.append(behind(snapshot, ahead))
    return profile


def _gpu_reasons(
    snapshot: Snapshot,
    plan: Plan,
    job: JobView,
    profile: AvailabilityProfile,
    reasons: list[Reason],
) -> None:
    """
    Reasons that the job finds no place: who keeps open GPUs from it, then who is on the others, and
    last who has reserved those too.
    """
    usable = profile.usable(job)
    kept = reserved(profile, job, usable)
    idle = {profile.gpus[i].index for i in usable if profile.open[i]}
    now = [reason for reason in kept if idle.intersection(reason.gpu_indices)]
    free = [i for i in usable if profile.open[i] and profile.reserved_for_others(job, i) is None]
    fresh = AvailabilityProfile(snapshot, plan.settings)
    gone = {uuid for start in plan.starts for uuid in start.gpu_uuids}
    closed = [
        i
        for i in usable
        if fresh.open[i] and not profile.open[i] and fresh.gpus[i].uuid not in gone
    ]
    ahead = [i for i in plan.order[: plan.order.index(job.id)] if i not in plan.started]
    if free and is_scattered(profile, job, free):
        reasons.append(scattered(job, [profile.gpus[i] for i in free]))
    elif closed or len(free) >= job.gpus:
        gpus = [profile.gpus[i] for i in (*closed, *free)]
        reasons.append(claimed(snapshot, plan, job, ahead, gpus))
    reasons.extend(now)
    reasons.extend(taken(snapshot, plan, job, usable))
    reasons.extend(reason for reason in kept if reason not in now)


def _expected(
    snapshot: Snapshot, plan: Plan, job: JobView, position: int | None
) -> ExpectedStart | None:
    if position is None or job.id in plan.expected:
        return plan.expected.get(job.id)
    return forecast(snapshot, plan, position).get(job.id)
