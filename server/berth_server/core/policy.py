"""
The decision: which waiting jobs start now, and on which GPUs.

1. Ready jobs are put in order (`order.ranked`).
2. Each is offered the GPUs that are open, in that order. A gang gets all its GPUs or none.
3. A job that must wait for GPUs claims those that it will get first; a later job may use them
   only if its time limit brings it off them by then. At most `claim_depth` jobs claim. A job
   that waits for something without a known end (an outsider, a sick GPU) claims nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from types import MappingProxyType

from berth_server.core.board import Board, Slot
from berth_server.core.model import Claim, ExpectedStart, JobView, Plan, Snapshot, Start
from berth_server.core.order import ranked
from berth_server.core.placement import choose
from berth_server.core.settings import PolicySettings


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What became of one job when its turn came."""

    job: JobView
    start: Start | None = None
    slot: Slot | None = None
    """What it claims, if it claims."""


def plan(snapshot: Snapshot, settings: PolicySettings | None = None) -> Plan:
    """Decide what starts now. Pure and deterministic: same snapshot, same plan."""
    settings = settings or PolicySettings()
    order, aged = ranked(snapshot, settings)
    starts: list[Start] = []
    claims: list[Claim] = []
    if snapshot.worker_ok and order:
        board = Board(snapshot, settings)
        for offer in walk(board, order, aged):
            if offer.start is not None:
                starts.append(offer.start)
            elif offer.slot is not None:
                uuids = tuple(board.gpus[i].uuid for i in offer.slot.gpus)
                at = snapshot.now + board.after(offer.slot.at_s)
                claims.append(Claim(job_id=offer.job.id, gpu_uuids=uuids, at=at))
        starts.extend(_without_gpus(order))
    return Plan(
        starts=tuple(starts),
        order=tuple([job.id for job in order]),
        expected=forecast(snapshot, settings, order, starts),
        claims=tuple(claims),
        wake_at=_wake_at(snapshot),
        settings=settings,
    )


def walk(board: Board, order: list[JobView], aged: int) -> Iterator[Offer]:
    """
    Offer the board to each job in turn, filling it on the way.

    Jobs that plainly cannot start nor claim are passed over without an offer.
    """
    may_claim = board.settings.claim_depth
    n_open = sum(board.open)
    for place, job in enumerate(order):
        if n_open == 0 and may_claim <= 0:
            return
        gpus = job.gpus
        if gpus == 0 or (gpus > n_open and may_claim <= 0 and place >= aged):
            continue
        usable = board.usable(job)
        positions = fitting(board, job, usable) if gpus <= n_open else None
        if positions is not None:
            board.occupy(job, positions)
            n_open -= gpus
            uuids = tuple([board.gpus[i].uuid for i in positions])
            yield Offer(job=job, start=Start(job_id=job.id, gpu_uuids=uuids))
            continue
        slot = None
        if (may_claim > 0 or place < aged) and len(usable) >= gpus:
            found = board.slot(job, usable)
            if found.at_s < inf:
                slot = found
                may_claim -= 1
                board.claim(job, slot)
                if place < aged:
                    board.close(usable)
                    n_open = sum(board.open)
        if slot is not None:
            yield Offer(job=job, slot=slot)


def fitting(board: Board, job: JobView, usable: list[int]) -> list[int] | None:
    """Where the job can start this moment, as positions in index order; None if nowhere."""
    if job.gpus == 0:
        return []
    bound_s = board.bound_s(job)
    free = [i for i in usable if board.open[i] and bound_s <= board.open_until[i]]
    if len(free) < job.gpus:
        return None
    # GPUs that nobody claims come first: what a claim lets through it lets through on sufferance.
    unclaimed = [i for i in free if board.open_until[i] == inf]
    pool = unclaimed if len(unclaimed) >= job.gpus else free
    uuids = choose([board.gpus[i] for i in pool], job.gpus, board.snapshot.links)
    return [board.positions[uuid] for uuid in uuids]


def forecast(
    snapshot: Snapshot, settings: PolicySettings, order: list[JobView], starts: list[Start]
) -> Mapping[int, ExpectedStart]:
    """Expected starts of the first `forecast_depth` jobs that do not start now."""
    if not snapshot.worker_ok or settings.forecast_depth == 0:
        return MappingProxyType({})
    board = Board(snapshot, settings)
    by_id = {job.id: job for job in order}
    for start in starts:
        board.occupy(by_id[start.job_id], [board.positions[uuid] for uuid in start.gpu_uuids])
    started = {start.job_id for start in starts}
    guessed = any(run.time_limit is None and run.gpu_uuids for run in snapshot.running)
    expected: dict[int, ExpectedStart] = {}
    for job in order:
        if len(expected) >= settings.forecast_depth:
            break
        if job.id in started:
            guessed = guessed or job.limit_s is None
            continue
        usable = board.usable(job)
        slot = board.slot(job, usable) if len(usable) >= job.gpus else None
        if slot is None or slot.at_s == inf:
            continue
        board.claim(job, slot)
        expected[job.id] = ExpectedStart(
            at=snapshot.now + board.after(slot.at_s), confidence="guess" if guessed else "likely"
        )
        guessed = guessed or job.limit_s is None
    return MappingProxyType(expected)


def _without_gpus(order: list[JobView]) -> list[Start]:
    """Jobs that need no GPU start however full the box is."""
    return [Start(job_id=job.id, gpu_uuids=()) for job in order if job.gpus == 0]


def _wake_at(snapshot: Snapshot) -> datetime | None:
    times = [
        job.not_before
        for job in snapshot.queue
        if job.not_before is not None and job.not_before > snapshot.now
    ]
    times.extend(
        gpu.unavailable.until
        for gpu in snapshot.gpus
        if gpu.unavailable is not None
        and gpu.unavailable.until is not None
        and gpu.unavailable.until > snapshot.now
    )
    return min(times, default=None)
