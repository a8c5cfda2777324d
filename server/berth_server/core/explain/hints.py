"""What would start a job sooner; whatever can be tried on the board is tried before it is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from berth.protocol.explain import Reason
from berth.units import format_duration
from berth_server.core.availability import Board
from berth_server.core.calendar import next_change
from berth_server.core.explain.phrases import clock, count, job_list
from berth_server.core.explain.reasons import counted_for
from berth_server.core.limits import Hit, Tally
from berth_server.core.model import JobView, Plan, RunningView, Snapshot
from berth_server.core.policy import fitting
from berth_server.core.policy import plan as decide
from berth_server.core.victims import lost_s

_STEPS_S = tuple(
    minutes * 60.0 for minutes in (5, 10, 15, 30, 60, 120, 240, 480, 720, 1440, 2880, 5760)
)


def hints(
    snapshot: Snapshot, plan: Plan, job: JobView, board: Board | None, reasons: list[Reason]
) -> list[str]:
    """Sentences, most effective first. `board` is as the job found it; None if not its turn."""
    kinds = {reason.kind for reason in reasons}
    found: list[str] = []
    if "held" in kinds:
        found.append(f"Release it: `berth release {job.id}`.")
    if "impossible" in kinds:
        found.append(f"Ask for at most {count(len(snapshot.gpus), 'GPU')}.")
    if "gpu_memory" in kinds:
        found.append("Ask for less memory per GPU, or for fewer GPUs.")
    if "limit" in kinds:
        found.extend(_about_limits(snapshot, plan, job, reasons))
    if board is not None and "limit" not in kinds:
        found.extend(_tried(snapshot, plan, job, board))
    if "gpus_outsider" in kinds:
        found.append("Whoever is on the GPU outside the queue has to free it; see `berth gpus`.")
    if "gpus_draining" in kinds:
        found.append("Undrain the GPU when it may be used again: `berth gpus undrain`.")
    if any(r.kind == "gpus_held" and r.until is None for r in reasons):
        found.append(
            "If the jobs on those GPUs had time limits, it would be known when they come free."
        )
    return found


def _about_limits(snapshot: Snapshot, plan: Plan, job: JobView, reasons: list[Reason]) -> list[str]:
    """What lifts the limit that the job meets."""
    hit = Tally(snapshot, plan.settings).hit(job)
    found: list[str] = []
    if hit is not None and hit.resource == "running_gpus" and job.gpus > hit.limit:
        found.append(f"Ask for at most {count(int(hit.limit), 'GPU')}, or have the limit raised.")
    elif hit is not None and any(reason.kind == "limit" and reason.job_ids for reason in reasons):
        found.append(_who_would_make_room(snapshot, plan, job, hit))
    change = next_change(plan.settings.calendar, snapshot.now, plan.settings.zone)
    if change is not None:
        found.append(f"By the calendar other limits hold from {clock(change)} on.")
    return found


def _who_would_make_room(snapshot: Snapshot, plan: Plan, job: JobView, hit: Hit) -> str:
    """
    Which running job has to end for the limit to let it start: preemption does not lift limits.

    Jobs of its own user first, then who gives way to it in priority and is preemptible, then
    whose end loses least work.
    """
    runs = [run for run in snapshot.running if counted_for(run, hit) == hit.whose]
    runs.sort(
        key=lambda run: (
            run.user != job.user,
            not (run.preemptible and run.priority < job.priority),
            lost_s(snapshot, run),
            -run.job_id,
        )
    )
    for run in runs:
        without = without_run(snapshot, run)
        if Tally(without, plan.settings).hit(job) is not None:
            continue
        named = f"job {run.job_id} ({run.name})" if run.name else f"job {run.job_id}"
        mine = run.user == job.user
        act = f"cancel it (berth cancel {run.job_id}) or wait" if mine else "wait for it"
        now = " and it would start now" if _starts(without, plan, job) else ""
        how = "" if mine else f" of {run.user}"
        text = (
            f"The limit lets it start once {named}{how} ends{now}: {act}, or have the limit raised."
        )
        if run.preemptible and run.priority < job.priority:
            text += " Preemption does not lift limits."
        return text
    return "It starts when several of these jobs have ended, or when the limit is raised."


def without_run(snapshot: Snapshot, run: RunningView) -> Snapshot:
    """The snapshot as it would be if this attempt had ended and left its GPUs."""
    gpus = tuple(
        replace(
            gpu,
            lease=None if gpu.lease and gpu.lease.attempt == run.attempt else gpu.lease,
            shares=tuple(one for one in gpu.shares if one.attempt != run.attempt),
        )
        for gpu in snapshot.gpus
    )
    running = tuple(one for one in snapshot.running if one.attempt != run.attempt)
    return replace(snapshot, gpus=gpus, running=running)


def _tried(snapshot: Snapshot, plan: Plan, job: JobView, board: Board) -> list[str]:
    """Changes of the job itself with which it would start this moment: each was planned with."""
    found: list[str] = []
    shorter = [s for s in _STEPS_S if job.limit_s is None or s < job.limit_s]
    for step_s in reversed(shorter):
        limit = timedelta(seconds=step_s)
        changed = replace(job, time_limit=limit)
        if fitting(board, changed) is not None and _starts(snapshot, plan, changed):
            text = f"With a time limit of at most {format_duration(limit)} it would start now."
            found.append(text)
            break
    for gpus in range(job.gpus - 1, 0, -1):
        changed = replace(job, gpus=gpus)
        if fitting(board, changed) is not None and _starts(snapshot, plan, changed):
            found.append(f"With {count(gpus, 'GPU')} it would start now.")
            break
    if snapshot.worker_ok and Tally(snapshot, plan.settings).hit(job) is None:
        fresh = Board(snapshot, plan.settings)
        ahead = [c.job_id for c in plan.claims if c.job_id != job.id]
        first = ahead or [start.job_id for start in plan.starts]
        highest = max([snapshot.pending[job_id].priority for job_id in first], default=job.priority)
        changed = replace(job, priority=max(job.priority, highest) + 1)
        if fitting(fresh, changed) is not None and _starts(snapshot, plan, changed):
            found.append(f"With a higher priority than {job_list(snapshot, first)} it starts now.")
    return found


def _starts(snapshot: Snapshot, plan: Plan, changed: JobView) -> bool:
    """Whether the policy would start the job if it were like this."""
    queue = tuple(changed if one.id == changed.id else one for one in snapshot.queue)
    return changed.id in decide(replace(snapshot, queue=queue), plan.settings).started
