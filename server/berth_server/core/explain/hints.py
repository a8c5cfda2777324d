"""Hints that would start a job sooner; what can be planned with is tried before it is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from berth.protocol.explain import Reason
from berth.protocol.message import Message, UserRef
from berth_server.core.availability import AvailabilityProfile
from berth_server.core.calendar import next_change
from berth_server.core.explain.phrases import Piece, clock, code, count, exactly, job, job_list
from berth_server.core.explain.reasons import counted_for
from berth_server.core.limits import LimitExceeded, LimitUsage
from berth_server.core.model import JobView, Plan, RunningView, Snapshot
from berth_server.core.policy import fitting
from berth_server.core.policy import plan as decide
from berth_server.core.victims import lost_s

_STEPS_S = tuple(
    minutes * 60.0 for minutes in (5, 10, 15, 30, 60, 120, 240, 480, 720, 1440, 2880, 5760)
)


def hints(
    snapshot: Snapshot,
    plan: Plan,
    waiting: JobView,
    profile: AvailabilityProfile | None,
    reasons: list[Reason],
) -> list[Message]:
    """Sentences, most effective first. `board` is as the job found it; None if not its turn."""
    kinds = {reason.kind for reason in reasons}
    found: list[Message] = []
    if "held" in kinds:
        found.append(Message.of("Release it: ", code(f"berth release {waiting.id}"), "."))
    if "impossible" in kinds:
        found.append(Message.of(f"Ask for at most {count(len(snapshot.gpus), 'GPU')}."))
    if "gpu_memory" in kinds:
        found.append(Message.of("Ask for less memory per GPU, or for fewer GPUs."))
    if "limit" in kinds:
        found.extend(_about_limits(snapshot, plan, waiting, reasons))
    if profile is not None and "limit" not in kinds:
        found.extend(_tried(snapshot, plan, waiting, profile))
    if "gpus_outsider" in kinds:
        found.append(
            Message.of(
                "A process outside the queue uses the GPU and has to leave it; see ",
                code("berth gpus"),
                ".",
            )
        )
    if "gpus_draining" in kinds:
        found.append(
            Message.of(
                "Undrain the GPU when it may be used again: ", code("berth gpus undrain"), "."
            )
        )
    if any(r.kind == "gpus_held" and r.until is None for r in reasons):
        found.append(
            Message.of(
                "If the jobs on those GPUs had time limits, Berth could say when they come free."
            )
        )
    return found


def _about_limits(
    snapshot: Snapshot, plan: Plan, waiting: JobView, reasons: list[Reason]
) -> list[Message]:
    """Ways past the limit that the job meets."""
    exceeded = LimitUsage(snapshot, plan.settings).exceeded(waiting)
    found: list[Message] = []
    if (
        exceeded is not None
        and exceeded.resource == "running_gpus"
        and waiting.gpus > exceeded.limit
    ):
        most = count(int(exceeded.limit), "GPU")
        found.append(Message.of(f"Ask for at most {most}, or have the limit raised."))
    elif exceeded is not None and any(
        reason.kind == "limit" and reason.job_ids for reason in reasons
    ):
        found.append(_room_within_limit(snapshot, plan, waiting, exceeded))
    change = next_change(plan.settings.calendar, snapshot.now, plan.settings.zone)
    if change is not None:
        found.append(Message.of("The calendar changes the limits at ", clock(change), "."))
    return found


def _room_within_limit(
    snapshot: Snapshot, plan: Plan, waiting: JobView, exceeded: LimitExceeded
) -> Message:
    """
    The running job whose end makes room within the limit: preemption does not lift limits.

    Jobs of its own user first, then preemptible ones of lower priority, then those whose end
    loses least work.
    """
    runs = [run for run in snapshot.running if counted_for(run, exceeded) == exceeded.whose]
    runs.sort(
        key=lambda run: (
            run.user != waiting.user,
            not (run.preemptible and run.priority < waiting.priority),
            lost_s(snapshot, run),
            -run.job_id,
        )
    )
    for run in runs:
        without = without_run(snapshot, run)
        if LimitUsage(without, plan.settings).exceeded(waiting) is not None:
            continue
        mine = run.user == waiting.user
        now = _starts(without, plan, waiting)
        act: tuple[Piece, ...] = ("cancel it (", code(f"berth cancel {run.job_id}"), ") or wait")
        return Message.of(
            "It starts once " if now else "The limit lets it start once ",
            job(run.job_id, run.name),
            *(() if mine else (" of ", UserRef(name=run.user))),
            " ends: ",
            *(act if mine else ("wait for it",)),
            ", or have the limit raised.",
            " Preemption does not lift limits."
            if run.preemptible and run.priority < waiting.priority
            else "",
        )
    return Message.of(
        "It starts when several of these jobs have ended, or when the limit is raised."
    )


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


def _tried(
    snapshot: Snapshot, plan: Plan, job: JobView, profile: AvailabilityProfile
) -> list[Message]:
    """Changes of the job itself with which it would start this moment: each was planned with."""
    found: list[Message] = []
    shorter = [s for s in _STEPS_S if job.limit_s is None or s < job.limit_s]
    for step_s in reversed(shorter):
        limit = timedelta(seconds=step_s)
        changed = replace(job, time_limit=limit)
        if fitting(profile, changed) is not None and _starts(snapshot, plan, changed):
            found.append(
                Message.of("With a time limit of at most ", exactly(limit), " it would start now.")
            )
            break
    for gpus in range(job.gpus - 1, 0, -1):
        changed = replace(job, gpus=gpus)
        if fitting(profile, changed) is not None and _starts(snapshot, plan, changed):
            found.append(Message.of(f"With {count(gpus, 'GPU')} it would start now."))
            break
    if snapshot.worker_ok and LimitUsage(snapshot, plan.settings).exceeded(job) is None:
        fresh = AvailabilityProfile(snapshot, plan.settings)
        ahead = [c.job_id for c in plan.claims if c.job_id != job.id]
        first = ahead or [start.job_id for start in plan.starts]
        highest = max([snapshot.pending[job_id].priority for job_id in first], default=job.priority)
        changed = replace(job, priority=max(job.priority, highest) + 1)
        if fitting(fresh, changed) is not None and _starts(snapshot, plan, changed):
            found.append(
                Message.of(
                    "With a higher priority than ",
                    job_list(snapshot, first),
                    " it would start now.",
                )
            )
    return found


def _starts(snapshot: Snapshot, plan: Plan, changed: JobView) -> bool:
    """True if the policy would start the job if it were like this."""
    queue = tuple(changed if one.id == changed.id else one for one in snapshot.queue)
    return changed.id in decide(replace(snapshot, queue=queue), plan.settings).started
