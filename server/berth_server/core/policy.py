"""
Scheduling policy: which ready jobs start now, and on which GPUs.

The rules, as docs/scheduling.md describes them:

1. Ready jobs are ordered: past the age cap first, then by priority, then by score
   (`order.ranked`).
2. Each job in turn is offered the open GPUs. A multi-GPU job gets all its GPUs at once or none.
   A job whose user, group or ablation is at a limit is passed over.
3. The first job that must wait for GPUs gets a backfill reservation, its shadow (EASY backfill).
   A later job starts only if it does not delay that job, neither by the estimates nor, where
   there are time limits, if every job runs to its limit; nor may it use up what that job needs
   within the limits. A job that waits for something without a known end (an outsider, an
   unhealthy GPU) gets no reservation.
4. That first job may preempt jobs of lower priority that allow it.
5. Behind a job past the age cap, no job starts on a GPU that it could use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from berth_server.core.availability import AvailabilityProfile, Shadow
from berth_server.core.limits import LimitExceeded, LimitUsage
from berth_server.core.model import Claim, JobView, Plan, Preemption, RunningView, Snapshot, Start
from berth_server.core.next_event import wake_at
from berth_server.core.order import ranked
from berth_server.core.placement import choose
from berth_server.core.settings import PREEMPT_PATIENCE, PolicySettings
from berth_server.core.victims import lost_s, victims


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Result of one job's turn in a scheduling pass."""

    job: JobView
    start: Start | None = None
    shadow: Shadow | None = None
    exceeded: LimitExceeded | None = None
    stopped: tuple[RunningView, ...] = ()
    """Attempts to preempt for it."""


def plan(snapshot: Snapshot, settings: PolicySettings | None = None) -> Plan:
    """
    Decide what starts now. Pure and deterministic: same snapshot, same plan.

    Expected starts are not part of it, see `forecast`.
    """
    settings = settings or PolicySettings()
    profile = AvailabilityProfile(snapshot, settings)
    order, aged = ranked(profile)
    starts: list[Start] = []
    claims: list[Claim] = []
    preemptions: list[Preemption] = []
    for offer in walk(profile, LimitUsage(snapshot, settings), order, aged):
        if offer.start is not None:
            starts.append(offer.start)
        if offer.shadow is not None:
            claims.append(_claim(profile, offer.shadow))
        preemptions.extend(
            Preemption(
                job_id=run.job_id,
                attempt=run.attempt,
                for_job_id=offer.job.id,
                lost_s=lost_s(snapshot, run),
            )
            for run in offer.stopped
        )
    return Plan(
        starts=tuple(starts),
        order=tuple([job.id for job in order]),
        aged=aged,
        claims=tuple(claims),
        preemptions=tuple(preemptions),
        wake_at=wake_at(snapshot, settings, order[aged:]),
        settings=settings,
    )


def walk(
    profile: AvailabilityProfile, usage_now: LimitUsage, order: Sequence[JobView], aged: int
) -> Iterator[Offer]:
    """
    Offer the profile to each job in turn, filling it on the way.

    Jobs that plainly can neither start nor claim are passed over without an offer.
    """
    if not profile.snapshot.worker_ok:
        return
    n_open = sum(profile.open)
    has_room = any(profile.free_bytes)
    cast = profile.shadow is not None
    for place, job in enumerate(order):
        # Over a long queue this line is most of the walk.
        if job.gpus > n_open and cast and place >= aged and not (has_room and job.share):
            continue
        exceeded = usage_now.exceeded(job) or usage_now.would_block(job, profile)
        if exceeded is not None:
            yield Offer(job=job, exceeded=exceeded)
            continue
        positions = fitting(profile, job)
        if positions is not None:
            start = _start(profile, job, positions)
            profile.occupy(job, positions)
            usage_now.add(job)
            n_open = sum(profile.open)
            has_room = has_room or job.share
            yield Offer(job=job, start=start)
            continue
        if profile.shadow is None or place < aged:
            offer = _block(profile, job, strict=place < aged)
            n_open = sum(profile.open)
            cast = profile.shadow is not None
            if offer is not None:
                yield offer


def _block(profile: AvailabilityProfile, job: JobView, *, strict: bool) -> Offer | None:
    """Let a job that cannot start claim what it will get, and stop others for it."""
    usable = profile.usable(job)
    stopped: tuple[RunningView, ...] = ()
    if profile.shadow is None:
        shadow = profile.shadow_of(job, usable)
        if shadow is None or shadow.expected_s > PREEMPT_PATIENCE.total_seconds():
            stopped = victims(profile, job, usable)
            for run in stopped:
                profile.vacate(run)
    shadow = profile.shadow_of(job, usable)
    if shadow is None:
        return None
    if profile.shadow is None:
        profile.shadow = shadow
    if strict:
        profile.close(shadow)
    return Offer(job=job, shadow=shadow, stopped=stopped)


def fitting(profile: AvailabilityProfile, job: JobView) -> tuple[int, ...] | None:
    """GPUs on which the job can start now, as positions in index order; None if nowhere."""
    if job.gpus == 0:
        return ()
    usable = profile.usable(job)
    if job.share:
        shared = _shared(profile, job, usable)
        if shared:
            # The fullest GPU that still has room keeps the emptier ones for bigger shares.
            return (min(shared, key=lambda i: (profile.free_bytes[i], i)),)
    free, _ = _free(profile, job, usable)
    each = job.gpus // job.nodes
    enough = [on_node for on_node in profile.on_nodes(free) if len(on_node) >= each]
    if len(enough) < job.nodes:
        return None
    # The fullest nodes that still have room keep the emptier ones for larger jobs.
    tightest = sorted(enough, key=len)[: job.nodes]
    uuids = [
        uuid
        for on_node in tightest
        for uuid in choose([profile.gpus[i] for i in on_node], each, profile.snapshot.links)
    ]
    positions = tuple(sorted(profile.positions[uuid] for uuid in uuids))
    return None if profile.delays(job, positions) else positions


def _shared(profile: AvailabilityProfile, job: JobView, usable: Sequence[int]) -> list[int]:
    """Positions of shared GPUs with room for the job's share."""
    least = job.gpu_memory_bytes or 0
    return [
        i
        for i in usable
        if 0 < least <= profile.free_bytes[i]
        and not profile.reserved_for_others(job, i)
        and not profile.delays(job, (i,))
    ]


def _free(
    profile: AvailabilityProfile, job: JobView, usable: Sequence[int]
) -> tuple[list[int], bool]:
    """The open GPUs that it may choose from, and whether they are only those set aside for it."""
    free = [i for i in usable if profile.open[i]]
    if not profile.snapshot.reservations:
        return free, False
    free = [i for i in free if profile.reserved_for_others(job, i) is None]
    own = [i for i in free if profile.own_reservation(job, i)]
    return (own, True) if len(own) >= job.gpus else (free, False)


def _start(profile: AvailabilityProfile, job: JobView, positions: tuple[int, ...]) -> Start:
    """The start of a job there, with what it was chosen from; the profile is as it found it."""
    joins = job.share and not profile.open[positions[0]]
    usable = profile.usable(job)
    among, reserved = positions, False
    if joins:
        among = _shared(profile, job, usable)
    elif job.gpus:
        among, reserved = _free(profile, job, usable)
    return Start(
        job_id=job.id,
        gpu_uuids=tuple([profile.gpus[i].uuid for i in positions]),
        memory_bytes=job.gpu_memory_bytes if job.share else None,
        among=tuple([profile.gpus[i].uuid for i in among]),
        reserved=reserved,
        joins=joins,
    )


def _claim(profile: AvailabilityProfile, shadow: Shadow) -> Claim:
    now = profile.snapshot.now
    return Claim(
        job_id=shadow.job.id,
        gpu_uuids=tuple(profile.gpus[i].uuid for i in shadow.gpus),
        at=now + profile.after(shadow.expected_s),
        latest=now + profile.after(shadow.latest_s) if shadow.latest_s < float("inf") else None,
    )
