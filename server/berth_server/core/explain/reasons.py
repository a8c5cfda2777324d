"""Reasons: the facts that keep a job from starting, as the planner met them."""

from __future__ import annotations

from datetime import datetime

from berth.protocol.dependencies import DependencyKind
from berth.protocol.explain import Reason, ReasonKind
from berth.protocol.message import Message
from berth.protocol.states import JobState
from berth_server.core.availability import AvailabilityProfile
from berth_server.core.explain.expected_end import end_of
from berth_server.core.explain.limit_reached import limit_message
from berth_server.core.explain.phrases import (
    Piece,
    clock,
    code,
    count,
    exactly,
    gib,
    gpu_list,
    holder,
    indices,
    job,
    job_list,
    span,
    user_list,
)
from berth_server.core.limits import LimitExceeded
from berth_server.core.model import (
    GpuView,
    JobView,
    LeaseView,
    Plan,
    RunningView,
    Snapshot,
    Unavailable,
)
from berth_server.core.readiness import unmet

_UNAVAILABLE: dict[str, ReasonKind] = {
    "outsider": "gpus_outsider",
    "leftover": "gpus_leftover",
    "unhealthy": "gpus_unhealthy",
    "draining": "gpus_draining",
    "unknown": "worker_down",
}


_NEEDED = {
    DependencyKind.AFTEROK: "",
    DependencyKind.AFTERANY: "the end of ",
    DependencyKind.AFTERNOTOK: "a failure of ",
}


def reason(
    kind: ReasonKind,
    *pieces: Piece,
    blocking: bool = True,
    job_ids: tuple[int, ...] = (),
    gpu_indices: tuple[int, ...] = (),
    until: datetime | None = None,
) -> Reason:
    """One fact with its sentence, made of `pieces`."""
    message = Message.of(*pieces)
    return Reason(
        kind=kind,
        sentence=str(message),
        sentence_parts=message,
        blocking=blocking,
        job_ids=job_ids,
        gpu_indices=gpu_indices,
        until=until,
    )


def own_reasons(waiting: JobView, now: datetime) -> list[Reason]:
    """Facts of the job itself that keep it from the queue, whatever the box looks like."""
    reasons: list[Reason] = []
    if waiting.state is JobState.HELD:
        reasons.append(reason("held", "It is held until it is released."))
    for dependency in unmet(waiting):
        final = dependency.state.is_final
        needed = _NEEDED[dependency.kind]
        reasons.append(
            reason(
                "dependency",
                f"It waits for {needed}",
                job(dependency.job_id, dependency.name),
                f", which {'has' if final else 'is'} {dependency.state.value}.",
                " Retry that job first." if final else "",
                job_ids=(dependency.job_id,),
            )
        )
    if waiting.not_before is not None and waiting.not_before > now:
        at = waiting.not_before
        told: list[Piece] = ["It must not start before ", clock(at), "."]
        if waiting.is_paused:
            left = span(at - now)
            told = ["It pauses after a failed attempt, and may start again in ", left, "."]
        reasons.append(reason("not_before", *told, until=at))
    return reasons


def worker_down() -> Reason:
    """Nothing starts without the worker."""
    return reason(
        "worker_down",
        "The worker is not reporting, so nothing can start; see ",
        code("berth status"),
        ".",
    )


def limit_reached(snapshot: Snapshot, exceeded: LimitExceeded) -> Reason:
    """A user's, group's or ablation's limit, with the running jobs that fill it."""
    runs = [
        run
        for run in snapshot.running
        if counted_for(run, exceeded) == exceeded.whose
        and (run.gpu_uuids or exceeded.resource == "running_jobs")
    ]
    ends = [run.started_at + run.time_limit for run in runs if run.started_at and run.time_limit]
    at_once = exceeded.resource in {"running_gpus", "running_jobs"}
    return reason(
        "limit",
        limit_message(exceeded),
        job_ids=tuple(run.job_id for run in runs) if at_once else (),
        until=min(ends, default=None) if at_once else None,
    )


def counted_for(run: RunningView, exceeded: LimitExceeded) -> str | None:
    """The name under which an attempt counts where the limit was met."""
    if exceeded.ablation:
        return run.ablation
    return run.group if exceeded.group else run.user


def too_few(snapshot: Snapshot, job: JobView, usable: int) -> Reason:
    """The box has not enough GPUs of that size at all."""
    asked = f"It asks for {count(job.gpus, 'GPU')}"
    here = "the cluster" if any(gpu.node for gpu in snapshot.gpus) else "the box"
    if job.gpus > len(snapshot.gpus):
        return reason("impossible", f"{asked}, but {here} has {len(snapshot.gpus)}.")
    least = gib(job.gpu_memory_bytes or 0)
    return reason("gpu_memory", f"{asked} of at least {least}, but {here} has {usable}.")


def taken(snapshot: Snapshot, plan: Plan, job: JobView, usable: tuple[int, ...]) -> list[Reason]:
    """Holders of the GPUs that it could use: one reason each."""
    gpus = [snapshot.gpus[i] for i in usable]
    reasons = _held(snapshot, gpus)
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    for start in plan.starts:
        mine = [by_uuid[uuid] for uuid in start.gpu_uuids if uuid in by_uuid]
        if mine and start.job_id != job.id:
            reasons.append(
                reason(
                    "gpus_held",
                    gpu_list(mine),
                    ": ",
                    job_list(snapshot, [start.job_id]),
                    " starts there now.",
                    job_ids=(start.job_id,),
                    gpu_indices=indices(mine),
                )
            )
    for why, mine in _unavailable(gpus):
        reasons.append(
            reason(
                _UNAVAILABLE[why.kind],
                gpu_list(mine),
                ": ",
                why.message,
                ".",
                gpu_indices=indices(mine),
                until=why.until,
            )
        )
    return reasons


def reserved(profile: AvailabilityProfile, job: JobView, usable: tuple[int, ...]) -> list[Reason]:
    """GPUs that others have reserved before the job would be off them, were it on them now."""
    found: dict[int, list[GpuView]] = {}
    for i in usable:
        reservation = profile.reserved_for_others(job, i)
        if reservation is not None:
            found.setdefault(reservation.id, []).append(profile.gpus[i])
    return [
        reason(
            "reservation",
            gpu_list(gpus),
            ": reserved for ",
            user_list([*sorted(reservation.users), *sorted(reservation.groups)]) or "no user",
            f" ({reservation.reason})" if reservation.reason else "",
            " from ",
            clock(reservation.starts_at),
            " to ",
            clock(reservation.ends_at),
            ".",
            gpu_indices=indices(gpus),
            until=reservation.ends_at,
        )
        for reservation in profile.snapshot.reservations
        if (gpus := found.get(reservation.id))
    ]


def is_scattered(profile: AvailabilityProfile, job: JobView, free: list[int]) -> bool:
    """Return whether GPUs would be enough in number, but not on the nodes of a cluster."""
    each = job.gpus // job.nodes
    enough = sum(len(on_node) >= each for on_node in profile.on_nodes(free))
    return len(profile.nodes) > 1 and len(free) >= job.gpus and enough < job.nodes


def scattered(job: JobView, gpus: list[GpuView]) -> Reason:
    """The free GPUs of a cluster are on too many nodes."""
    each = count(job.gpus // job.nodes, "GPU")
    needs = f"{each} on one node" if job.nodes == 1 else f"{each} on each of {job.nodes} nodes"
    verb = "is" if len(gpus) == 1 else "are"
    return reason(
        "scattered",
        gpu_list(gpus),
        f" {verb} free, but on too many nodes: it needs {needs}.",
        gpu_indices=indices(gpus),
    )


def claimed(
    snapshot: Snapshot, plan: Plan, job: JobView, ahead: list[int], gpus: list[GpuView]
) -> Reason:
    """The backfill reservation of a job that waits ahead of it, or of jobs past the age cap."""
    strict = [job_id for job_id in plan.order[: plan.aged] if job_id in ahead]
    claim = next((c for c in plan.claims if c.job_id in ahead), None)
    head = strict or ([claim.job_id] if claim else ahead[:1])
    until = claim.at if claim else None
    one = len(head) == 1
    end: list[Piece]
    if strict:
        end = [f", which {'is' if one else 'are'} past the age cap, so no later job may overtake."]
    else:
        end = [", which should start"]
        if until is not None:
            end += [" by about ", clock(until)]
        if job.time_limit is not None:
            end += ["; with its time limit of ", exactly(job.time_limit), ", this job could delay"]
        else:
            end += ["; this job has no time limit and could delay"]
        end += [" that."]
    return reason(
        "claimed",
        gpu_list(gpus) if gpus else "The open GPUs",
        ": kept for ",
        job_list(snapshot, head),
        *end,
        job_ids=tuple(head),
        gpu_indices=indices(gpus),
        until=until,
    )


def behind(snapshot: Snapshot, ahead: list[int]) -> Reason:
    """Count of jobs ahead: for orientation, it blocks no start."""
    return reason(
        "behind",
        f"{count(len(ahead), 'job')} {'waits' if len(ahead) == 1 else 'wait'} ahead of it: ",
        job_list(snapshot, ahead),
        ".",
        blocking=False,
        job_ids=tuple(ahead[:20]),
    )


def _held(snapshot: Snapshot, gpus: list[GpuView]) -> list[Reason]:
    runs = {run.attempt: run for run in snapshot.running}
    held: dict[str, tuple[LeaseView, list[GpuView]]] = {}
    for gpu in gpus:
        for lease in (*([gpu.lease] if gpu.lease else []), *gpu.shares):
            held.setdefault(lease.attempt, (lease, []))[1].append(gpu)
    reasons: list[Reason] = []
    for attempt, (lease, mine) in held.items():
        until, words = end_of(snapshot.now, runs.get(attempt))
        reasons.append(
            reason(
                "gpus_held",
                gpu_list(mine),
                f" ({gib(lease.memory_bytes)} of it)" if lease.memory_bytes else "",
                ": held by ",
                holder(lease),
                words,
                ".",
                job_ids=(lease.job_id,),
                gpu_indices=indices(mine),
                until=until,
            )
        )
    return reasons


def _unavailable(gpus: list[GpuView]) -> list[tuple[Unavailable, list[GpuView]]]:
    """GPUs with the same trouble together, in index order of the first."""
    found: dict[Unavailable, list[GpuView]] = {}
    for gpu in gpus:
        if gpu.unavailable is not None:
            found.setdefault(gpu.unavailable, []).append(gpu)
    return list(found.items())
