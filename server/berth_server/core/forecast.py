"""When the waiting jobs should start, if nobody else comes."""

from __future__ import annotations

from math import inf

from berth_server.core.board import ENDING_S, Board, Part, nth
from berth_server.core.limits import LimitOutlook, is_spent
from berth_server.core.model import Confidence, ExpectedStart, JobView, Plan, Snapshot


def forecast(snapshot: Snapshot, plan: Plan, depth: int) -> dict[int, ExpectedStart]:
    """
    Expected starts of the first `depth` jobs that the plan does not start, in its order.

    Each job in turn gets the GPUs that come free first. A job whose start is not in sight (it
    waits for a GPU without a known end or for a limit that no end lifts, or its ablation has had
    its GPU-hours) is left out. `likely` rests on time limits and enough history alone; `guess` also on assumptions for jobs of which nothing is known.
    """
    if not snapshot.worker_ok:
        return {}
    pending = snapshot.pending
    board = _board_after(snapshot, plan)
    runs = (run for run in snapshot.running if run.gpu_uuids)
    known = all(run.time_limit is not None or run.estimate is not None for run in runs)
    known = known and all(_known(pending[start.job_id]) for start in plan.starts)
    confidence: Confidence = "likely" if known else "guess"
    limits = _limits_after(snapshot, plan, board)
    spent = {name for name, caps in snapshot.ablations.items() if is_spent(caps)}
    expected: dict[int, ExpectedStart] = {}
    for job_id in plan.order:
        if len(expected) >= depth:
            break
        if job_id in plan.started:
            continue
        job = pending[job_id]
        if job.gpus and job.ablation in spent:
            continue
        usable = board.usable(job)
        times_s = board.arrivals_s(job)
        at_s = nth(times_s, usable, job.gpus)
        at_s = max(at_s, limits.at_s(job))
        if at_s == inf:
            continue
        first = sorted(usable, key=lambda i: (times_s[i], i))[: job.gpus]
        end_s = at_s + board.likely_s(job)
        limits.add(job, end_s)
        for i in first:
            board.expected_s[i] = max(board.expected_s[i], end_s) if job.share else end_s
            if job.share:
                board.parts[i].append(Part("", job.gpu_memory_bytes or 0, end_s, end_s))
        expected[job_id] = ExpectedStart(at=snapshot.now + board.after(at_s), confidence=confidence)
        confidence = "guess" if not _known(job) else confidence
    return expected


def _limits_after(snapshot: Snapshot, plan: Plan, board: Board) -> LimitOutlook:
    """Who counts against limits until when, once the plan is carried out."""
    limits = LimitOutlook(snapshot, plan.settings)
    stopped = {preemption.attempt for preemption in plan.preemptions}
    for run in snapshot.running:
        limits.add(run, ENDING_S if run.attempt in stopped else board.remaining_s(run)[0])
    for start in plan.starts:
        job = snapshot.pending[start.job_id]
        limits.add(job, board.likely_s(job))
    return limits


def _board_after(snapshot: Snapshot, plan: Plan) -> Board:
    """The board once the plan is carried out."""
    board = Board(snapshot, plan.settings)
    for start in plan.starts:
        positions = tuple(board.positions[uuid] for uuid in start.gpu_uuids)
        board.occupy(snapshot.pending[start.job_id], positions)
    stopped = {preemption.attempt for preemption in plan.preemptions}
    for run in snapshot.running:
        if run.attempt in stopped:
            board.vacate(run)
    return board


def _known(job: JobView) -> bool:
    return job.limit_s is not None or job.estimate is not None
