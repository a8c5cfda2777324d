"""Why a job is where it is: the planner's own facts, put into sentences."""

from __future__ import annotations

from datetime import datetime

from berth.protocol.base import format_duration
from berth.protocol.explain import Explanation, Reason, ReasonKind
from berth.protocol.states import JobState
from berth_server.core.board import Board
from berth_server.core.model import GpuView, JobView, Plan, RunningView, Snapshot
from berth_server.core.order import ranked
from berth_server.core.policy import Offer, fitting, walk
from berth_server.core.readiness import unmet

_UNAVAILABLE_REASON: dict[str, ReasonKind] = {
    "outsider": "gpus_outsider",
    "leftover": "gpus_leftover",
    "unhealthy": "gpus_unhealthy",
    "draining": "gpus_draining",
    "unknown": "worker_down",
}


def explain(snapshot: Snapshot, plan: Plan, job_id: int) -> Explanation:
    """
    Explain a pending or running job of the snapshot; `plan` must be the one made from it.

    A job without a blocking reason is one that `plan` starts. Raises KeyError for a job that
    is neither in the queue nor running.
    """
    for job in snapshot.queue:
        if job.id == job_id:
            return _pending(snapshot, plan, job)
    for run in snapshot.running:
        if run.job_id == job_id:
            return _running(snapshot, run)
    raise KeyError(job_id)


def _running(snapshot: Snapshot, run: RunningView) -> Explanation:
    where = _gpu_list([gpu for gpu in snapshot.gpus if gpu.uuid in run.gpu_uuids])
    state = JobState.STOPPING if run.stopping else JobState.RUNNING
    if run.started_at is None and not run.stopping:
        state = JobState.STARTING
    sentence = f"It is {state.value} on {where}." if run.gpu_uuids else f"It is {state.value}."
    return Explanation(
        job_id=run.job_id,
        state=state,
        confidence="certain",
        summary=sentence,
        reasons=[Reason(kind="running", sentence=sentence, blocking=False)],
    )


def _pending(snapshot: Snapshot, plan: Plan, job: JobView) -> Explanation:
    start = plan.started.get(job.id)
    if start is not None:
        where = _gpu_list([gpu for gpu in snapshot.gpus if gpu.uuid in start.gpu_uuids])
        return Explanation(
            job_id=job.id,
            state=job.state,
            position=1,
            expected_start=snapshot.now,
            confidence="certain",
            summary=f"It starts now on {where}." if start.gpu_uuids else "It starts now.",
        )
    reasons = _own_reasons(snapshot, job)
    if job.id in plan.order:
        reasons.extend(_box_reasons(snapshot, plan, job))
    expected = plan.expected.get(job.id)
    waiting = [other for other in plan.order if other not in plan.started]
    return Explanation(
        job_id=job.id,
        state=job.state,
        position=waiting.index(job.id) + 1 if job.id in waiting else None,
        expected_start=expected.at if expected else None,
        confidence=expected.confidence if expected else "unknown",
        summary=_summary(reasons),
        reasons=reasons,
        would_help=_would_help(snapshot, job, reasons),
    )


def _own_reasons(snapshot: Snapshot, job: JobView) -> list[Reason]:
    """What keeps the job from the queue, whatever the box looks like."""
    reasons: list[Reason] = []
    if job.state is JobState.HELD:
        reasons.append(Reason(kind="held", sentence="It is held until somebody releases it."))
    for dependency in unmet(job):
        name = f" ({dependency.name})" if dependency.name else ""
        ended = dependency.state.is_final
        sentence = (
            f"It waits for job {dependency.job_id}{name}, which has {dependency.state.value}."
            if ended
            else f"It waits for job {dependency.job_id}{name}, which is {dependency.state.value}."
        )
        reasons.append(Reason(kind="dependency", sentence=sentence, job_ids=(dependency.job_id,)))
    if job.not_before is not None and job.not_before > snapshot.now:
        reasons.append(
            Reason(
                kind="not_before",
                sentence=f"It is not to start before {clock(job.not_before)}.",
                until=job.not_before,
            )
        )
    return reasons


def _box_reasons(snapshot: Snapshot, plan: Plan, job: JobView) -> list[Reason]:
    """What the box and the jobs ahead leave it without."""
    if not snapshot.worker_ok:
        sentence = "The worker does not report, so nothing starts; see `berth status`."
        return [Reason(kind="worker_down", sentence=sentence)]
    board = Board(snapshot, plan.settings)
    offers: list[Offer] = []
    for offer in walk(board, *ranked(snapshot, plan.settings)):
        if offer.job.id == job.id:
            break
        offers.append(offer)
    usable = [snapshot.gpus[i] for i in board.usable(job)]
    if len(usable) < job.gpus:
        return [_impossible(snapshot, job, usable)]
    reasons = _gpu_reasons(snapshot, plan, usable)
    claims = [offer for offer in offers if offer.slot is not None]
    shadow = _shadow(snapshot, board, job, claims)
    if shadow is not None:
        reasons.append(shadow)
    ahead = [o.job.id for o in offers if o.start is None]
    if ahead:
        sentence = f"{_count(len(ahead), 'job')} wait ahead of it: {_ids(ahead)}."
        reasons.append(
            Reason(kind="behind", sentence=sentence, blocking=False, job_ids=tuple(ahead[:20]))
        )
    return reasons


def _impossible(snapshot: Snapshot, job: JobView, usable: list[GpuView]) -> Reason:
    if job.gpus > len(snapshot.gpus):
        sentence = f"It asks for {job.gpus} GPUs and the box has {len(snapshot.gpus)}."
        return Reason(kind="impossible", sentence=sentence)
    least = _gib(job.gpu_memory_bytes or 0)
    sentence = (
        f"It asks for {_count(job.gpus, 'GPU')} of at least {least} and the box has {len(usable)}."
    )
    return Reason(kind="gpu_memory", sentence=sentence)


def _gpu_reasons(snapshot: Snapshot, plan: Plan, usable: list[GpuView]) -> list[Reason]:
    """Who is on the GPUs it could use: one reason per holder."""
    reasons: list[Reason] = []
    runs = {run.attempt: run for run in snapshot.running}
    held: dict[int, list[GpuView]] = {}
    for gpu in usable:
        for lease in (*gpu.shares, *((gpu.lease,) if gpu.lease else ())):
            held.setdefault(lease.job_id, []).append(gpu)
    for job_id, gpus in held.items():
        lease = gpus[0].lease or next(s for s in gpus[0].shares if s.job_id == job_id)
        run = runs.get(lease.attempt)
        until = (
            run.started_at + run.time_limit
            if run is not None and run.started_at is not None and run.time_limit is not None
            else None
        )
        name = f"job {job_id} of {lease.user}" + (f" ({lease.job_name})" if lease.job_name else "")
        end = f" until {clock(until)} at the latest" if until else ", which has no time limit"
        reasons.append(
            Reason(
                kind="gpus_held",
                sentence=f"{_gpu_list(gpus)}: held by {name}{end}.",
                job_ids=(job_id,),
                gpu_indices=_indices(gpus),
                until=until,
            )
        )
    by_uuid = {gpu.uuid: gpu for gpu in usable}
    for start in plan.starts:
        gpus = [by_uuid[uuid] for uuid in start.gpu_uuids if uuid in by_uuid]
        if gpus:
            reasons.append(
                Reason(
                    kind="gpus_held",
                    sentence=f"{_gpu_list(gpus)}: job {start.job_id} starts there now.",
                    job_ids=(start.job_id,),
                    gpu_indices=_indices(gpus),
                )
            )
    reasons.extend(
        Reason(
            kind=_UNAVAILABLE_REASON[gpu.unavailable.kind],
            sentence=f"{_gpu_list([gpu])}: {gpu.unavailable.sentence.rstrip('.')}.",
            gpu_indices=(gpu.index,),
            until=gpu.unavailable.until,
        )
        for gpu in usable
        if gpu.unavailable is not None
    )
    return reasons


def _shadow(snapshot: Snapshot, board: Board, job: JobView, claims: list[Offer]) -> Reason | None:
    """The claims of earlier jobs, if they alone keep free GPUs from this one."""
    usable = board.usable(job)
    open_now = [i for i in usable if board.open[i]]
    if len(open_now) < job.gpus or fitting(board, job, usable) is not None or not claims:
        return None
    first = claims[0]
    at = snapshot.now + board.after(first.slot.at_s if first.slot else 0.0)
    limit = (
        f"its time limit of {format_duration(job.time_limit)} reaches past that"
        if job.time_limit is not None
        else "it has no time limit that ends before that"
    )
    gpus = [board.gpus[i] for i in open_now if board.open_until[i] < board.bound_s(job)]
    return Reason(
        kind="claimed",
        sentence=f"{_gpu_list(gpus)}: kept for {_ids([o.job.id for o in claims])}, which should "
        f"have all its GPUs by {clock(at)}; {limit}.",
        job_ids=tuple(o.job.id for o in claims),
        gpu_indices=_indices(gpus),
        until=at,
    )


def _would_help(snapshot: Snapshot, job: JobView, reasons: list[Reason]) -> list[str]:
    kinds = {reason.kind for reason in reasons}
    helps: list[str] = []
    if "held" in kinds:
        helps.append(f"Release it: berth release {job.id}.")
    if "claimed" in kinds:
        helps.append("A time limit short enough to end before the claim begins.")
    if "impossible" in kinds:
        helps.append(f"Ask for at most {len(snapshot.gpus)} GPUs.")
    if "gpu_memory" in kinds:
        helps.append("Ask for less memory per GPU, or for fewer GPUs.")
    if "gpus_outsider" in kinds:
        helps.append("Ask the outsider's owner to free the GPU; see `berth gpus`.")
    if any(r.kind == "gpus_held" and r.until is None for r in reasons):
        helps.append("Time limits on the jobs ahead, so that their end can be planned with.")
    return helps


def _summary(reasons: list[Reason]) -> str:
    blocking = [reason for reason in reasons if reason.blocking]
    if not blocking:
        return "It is next."
    return blocking[0].sentence


def clock(at: datetime) -> str:
    """A time for people, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _gpu_list(gpus: list[GpuView]) -> str:
    indices = ", ".join(str(i) for i in _indices(gpus))
    return f"GPU {indices}" if len(gpus) == 1 else f"GPUs {indices}"


def _indices(gpus: list[GpuView]) -> tuple[int, ...]:
    return tuple(sorted(gpu.index for gpu in gpus))


def _ids(ids: list[int]) -> str:
    shown = ", ".join(str(i) for i in ids[:5])
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _gib(size: int) -> str:
    return f"{size / 2**30:.4g} GiB"
