"""Which preemptible attempts to stop so that a more urgent job can start."""

from __future__ import annotations

from itertools import combinations

from berth_server.core.board import Board
from berth_server.core.model import JobView, RunningView, Snapshot

_MOST_EXACT = 12
"""With more candidates than this they are taken one by one instead of trying all sets."""


def victims(board: Board, job: JobView, usable: tuple[int, ...]) -> tuple[RunningView, ...]:
    """
    The attempts whose end lets the job start, with the least work lost in all; maybe none.

    Candidates declared themselves preemptible, have a lower priority, and are not stopping
    already. Work lost is GPU-seconds since the last checkpoint. Ties go to fewer victims,
    then to the later jobs.
    """
    # A card that is set aside for others would not be the job's when it comes free.
    usable = tuple(i for i in usable if board.kept_from(job, i) is None)
    wanted = set(usable)
    open_now = sum(board.open[i] for i in usable)
    candidates: list[tuple[float, RunningView, int]] = []
    for run in board.snapshot.running:
        if not run.preemptible or run.stopping or run.priority >= job.priority:
            continue
        if run.memory_bytes is not None:
            continue
        freed = sum(
            1
            for uuid in run.gpu_uuids
            if (i := board.positions.get(uuid)) in wanted and board.gpus[i].unavailable is None
        )
        if freed:
            candidates.append((lost_s(board.snapshot, run), run, freed))
    candidates.sort(key=lambda entry: (entry[0], -entry[1].job_id))
    short = job.gpus - open_now
    if short <= 0 or sum(freed for *_, freed in candidates) < short:
        return ()
    if len(candidates) > _MOST_EXACT:
        return _one_by_one(candidates, short)
    sets = (
        chosen
        for size in range(1, len(candidates) + 1)
        for chosen in combinations(candidates, size)
        if sum(freed for *_, freed in chosen) >= short
    )
    best = min(sets, key=lambda chosen: (sum(lost for lost, *_ in chosen), len(chosen)))
    return tuple(run for _, run, _ in best)


def lost_s(snapshot: Snapshot, run: RunningView) -> float:
    """GPU-seconds of work that stopping the attempt throws away."""
    since = max((at for at in (run.started_at, run.saved_at) if at is not None), default=None)
    if since is None:
        return 0.0
    return max(0.0, (snapshot.now - since).total_seconds()) * len(run.gpu_uuids)


def _one_by_one(
    candidates: list[tuple[float, RunningView, int]], short: int
) -> tuple[RunningView, ...]:
    """The cheapest per GPU until there are enough, then without those that were not needed."""
    chosen: list[tuple[float, RunningView, int]] = []
    for entry in sorted(candidates, key=lambda entry: (entry[0] / entry[2], -entry[1].job_id)):
        chosen.append(entry)
        if sum(freed for *_, freed in chosen) >= short:
            break
    for entry in sorted(chosen, key=lambda entry: -entry[0]):
        if sum(freed for *_, freed in chosen) - entry[2] >= short:
            chosen.remove(entry)
    return tuple(run for _, run, _ in chosen)
