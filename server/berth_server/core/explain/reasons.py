"""The facts that keep a job from starting, as the planner met them."""

from __future__ import annotations

from datetime import datetime, timedelta

from berth.protocol.explain import Reason, ReasonKind
from berth.protocol.states import JobState
from berth.units import format_duration
from berth_server.core.availability import Board
from berth_server.core.explain.phrases import (
    clock,
    count,
    gib,
    gpu_list,
    holder,
    indices,
    job_list,
    sentence,
)
from berth_server.core.limits import Hit
from berth_server.core.model import GpuView, JobView, LeaseView, Plan, RunningView, Snapshot
from berth_server.core.readiness import unmet

_UNAVAILABLE: dict[str, ReasonKind] = {
    "outsider": "gpus_outsider",
    "leftover": "gpus_leftover",
    "unhealthy": "gpus_unhealthy",
    "draining": "gpus_draining",
    "unknown": "worker_down",
}


def own_reasons(job: JobView, now: datetime) -> list[Reason]:
    """What keeps the job from the queue, whatever the box looks like."""
    reasons: list[Reason] = []
    if job.state is JobState.HELD:
        reasons.append(Reason(kind="held", sentence="It is held until somebody releases it."))
    for dependency in unmet(job):
        name = f" ({dependency.name})" if dependency.name else ""
        verb = "has" if dependency.state.is_final else "is"
        text = f"It waits for job {dependency.job_id}{name}, which {verb} {dependency.state.value}."
        if dependency.state.is_final:
            text += " That job has to be retried first."
        reasons.append(Reason(kind="dependency", sentence=text, job_ids=(dependency.job_id,)))
    if job.not_before is not None and job.not_before > now:
        text = f"It is not to start before {clock(job.not_before)}."
        reasons.append(Reason(kind="not_before", sentence=text, until=job.not_before))
    return reasons


def worker_down() -> Reason:
    """Nothing starts without the worker."""
    text = "The worker does not report, so nothing can start; see `berth status`."
    return Reason(kind="worker_down", sentence=text)


def limit_reached(snapshot: Snapshot, hit: Hit) -> Reason:
    """A user's, group's or ablation's limit, with the running jobs that fill it."""
    runs = [
        run
        for run in snapshot.running
        if counted_for(run, hit) == hit.whose and (run.gpu_uuids or hit.resource == "running_jobs")
    ]
    ends = [run.started_at + run.time_limit for run in runs if run.started_at and run.time_limit]
    at_once = hit.resource in {"running_gpus", "running_jobs"}
    return Reason(
        kind="limit",
        sentence=hit.sentence,
        job_ids=tuple(run.job_id for run in runs) if at_once else (),
        until=min(ends, default=None) if at_once else None,
    )


def counted_for(run: RunningView, hit: Hit) -> str | None:
    """The name under which an attempt counts where the limit was met."""
    if hit.ablation:
        return run.ablation
    return run.group if hit.group else run.user


def too_few(snapshot: Snapshot, job: JobView, usable: int) -> Reason:
    """The box has not enough GPUs of that size at all."""
    if job.gpus > len(snapshot.gpus):
        text = f"It asks for {count(job.gpus, 'GPU')} and the box has {len(snapshot.gpus)}."
        return Reason(kind="impossible", sentence=text)
    least = gib(job.gpu_memory_bytes or 0)
    text = f"It asks for {count(job.gpus, 'GPU')} of at least {least} and the box has {usable}."
    return Reason(kind="gpu_memory", sentence=text)


def taken(snapshot: Snapshot, plan: Plan, job: JobView, usable: tuple[int, ...]) -> list[Reason]:
    """Who is on the GPUs that it could use: one reason per holder."""
    gpus = [snapshot.gpus[i] for i in usable]
    reasons = _held(snapshot, gpus)
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    for start in plan.starts:
        mine = [by_uuid[uuid] for uuid in start.gpu_uuids if uuid in by_uuid]
        if mine and start.job_id != job.id:
            text = f"{gpu_list(mine)}: {job_list(snapshot, [start.job_id])} starts there now."
            reasons.append(
                Reason(
                    kind="gpus_held",
                    sentence=text,
                    job_ids=(start.job_id,),
                    gpu_indices=indices(mine),
                )
            )
    for kind, text, until, mine in _unavailable(gpus):
        reasons.append(
            Reason(
                kind=_UNAVAILABLE[kind],
                sentence=sentence(f"{gpu_list(mine)}: {text}"),
                gpu_indices=indices(mine),
                until=until,
            )
        )
    return reasons


def reserved(board: Board, job: JobView, usable: tuple[int, ...]) -> list[Reason]:
    """GPUs that others have reserved before the job would be off them, were it on them now."""
    found: dict[int, list[GpuView]] = {}
    for i in usable:
        reservation = board.kept_from(job, i)
        if reservation is not None:
            found.setdefault(reservation.id, []).append(board.gpus[i])
    reasons: list[Reason] = []
    for reservation in board.snapshot.reservations:
        gpus = found.get(reservation.id)
        if not gpus:
            continue
        whom = ", ".join([*sorted(reservation.users), *sorted(reservation.groups)]) or "nobody"
        why = f" ({reservation.reason})" if reservation.reason else ""
        text = (
            f"{gpu_list(gpus)}: reserved for {whom}{why} from {clock(reservation.starts_at)} "
            f"to {clock(reservation.ends_at)}."
        )
        reasons.append(
            Reason(
                kind="reservation",
                sentence=text,
                gpu_indices=indices(gpus),
                until=reservation.ends_at,
            )
        )
    return reasons


def claimed(
    snapshot: Snapshot, plan: Plan, job: JobView, ahead: list[int], gpus: list[GpuView]
) -> Reason:
    """The shadow of a gang that waits ahead of it, or of jobs past the age cap."""
    strict = [job_id for job_id in plan.order[: plan.aged] if job_id in ahead]
    claim = next((c for c in plan.claims if c.job_id in ahead), None)
    head = strict or ([claim.job_id] if claim else ahead[:1])
    until = claim.at if claim else None
    whose = job_list(snapshot, head)
    where = gpu_list(gpus) if gpus else "The open GPUs"
    if strict:
        text = f"{where}: kept for {whose}, past the age cap: nobody overtakes any more."
    else:
        by = f" by about {clock(until)}" if until else ""
        limit = (
            f"its time limit of {format_duration(job.time_limit)}"
            if job.time_limit is not None
            else "its length (it has no time limit)"
        )
        text = f"{where}: kept for {whose}, which should start{by}; {limit} could delay that."
    return Reason(
        kind="claimed",
        sentence=text,
        job_ids=tuple(head),
        gpu_indices=indices(gpus),
        until=until,
    )


def behind(snapshot: Snapshot, ahead: list[int]) -> Reason:
    """How many wait ahead: for orientation, it keeps nobody from starting."""
    verb = "waits" if len(ahead) == 1 else "wait"
    text = f"{count(len(ahead), 'job')} {verb} ahead of it: {job_list(snapshot, ahead)}."
    return Reason(kind="behind", sentence=text, blocking=False, job_ids=tuple(ahead[:20]))


def _held(snapshot: Snapshot, gpus: list[GpuView]) -> list[Reason]:
    runs = {run.attempt: run for run in snapshot.running}
    held: dict[str, tuple[LeaseView, list[GpuView]]] = {}
    for gpu in gpus:
        for lease in (*([gpu.lease] if gpu.lease else []), *gpu.shares):
            held.setdefault(lease.attempt, (lease, []))[1].append(gpu)
    reasons: list[Reason] = []
    for attempt, (lease, mine) in held.items():
        run = runs.get(attempt)
        until, words = _end(snapshot.now, run)
        share = f" ({gib(lease.memory_bytes)} of it)" if lease.memory_bytes else ""
        reasons.append(
            Reason(
                kind="gpus_held",
                sentence=f"{gpu_list(mine)}{share}: held by {holder(lease)}{words}.",
                job_ids=(lease.job_id,),
                gpu_indices=indices(mine),
                until=until,
            )
        )
    return reasons


def _end(now: datetime, run: RunningView | None) -> tuple[datetime | None, str]:
    """When an attempt ends, and the words for it."""
    if run is None:
        return None, ", which has ended and is being cleared"
    if run.stopping:
        return None, ", which is stopping"
    if run.time_limit is not None:
        until = (run.started_at or now) + run.time_limit
        return until, f" until {clock(until)} at the latest"
    if run.estimate is not None:
        elapsed_s = max(0.0, (now - run.started_at).total_seconds()) if run.started_at else 0.0
        left = timedelta(seconds=run.estimate.quantile_s(0.5, elapsed_s=elapsed_s) - elapsed_s)
        return now + left, f", probably until {clock(now + left)}, going by {run.estimate.source}"
    return None, ", which has no time limit"


def _unavailable(
    gpus: list[GpuView],
) -> list[tuple[str, str, datetime | None, list[GpuView]]]:
    """GPUs with the same trouble together, in index order of the first."""
    found: dict[tuple[str, str, datetime | None], list[GpuView]] = {}
    for gpu in gpus:
        if gpu.unavailable is not None:
            trouble = gpu.unavailable
            key = (trouble.kind, trouble.sentence, trouble.until)
            found.setdefault(key, []).append(gpu)
    return [(kind, text, until, mine) for (kind, text, until), mine in found.items()]
