"""Preemption victims: the attempts to stop so that a more urgent job can start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from berth_server.core.availability import AvailabilityProfile
from berth_server.core.model import JobView, RunningView, Snapshot

_MOST_EXACT = 12
"""With more choices than this they are taken one by one instead of trying all sets."""


@dataclass(frozen=True)
class Choice:
    """Attempts that would be stopped together: one, or all that share a GPU."""

    runs: tuple[RunningView, ...]
    frees: int
    """GPUs that the job could use then, or bytes of one GPU."""
    lost_s: float
    """GPU-seconds of work that are lost."""

    @property
    def latest(self) -> int:
        """Its newest job."""
        return max(run.job_id for run in self.runs)


def victims(
    profile: AvailabilityProfile, job: JobView, usable: tuple[int, ...]
) -> tuple[RunningView, ...]:
    """
    The attempts whose end lets the job start, with the least work lost in all; maybe none.

    Candidates declared themselves preemptible, have a lower priority, are not stopping already
    and not past the age cap: those would be served first again, and so for ever. A GPU in shares
    comes free when all of them can be stopped; for a share it is
    enough to stop some. Work lost is GPU-seconds since the last checkpoint. Ties go to fewer
    victims, then to the later jobs.
    """
    gpus = [
        _Gpu(profile, i, job)
        for i in usable
        # A GPU that is set aside for others would not be the job's when it comes free.
        if profile.reserved_for_others(job, i) is None and profile.gpus[i].unavailable is None
    ]
    if job.share:
        return _for_share(profile, job, gpus)
    short = job.gpus - sum(gpu.is_coming for gpu in gpus)
    return _runs(_cheapest(_clearing(profile.snapshot, gpus), short))


def lost_s(snapshot: Snapshot, run: RunningView) -> float:
    """GPU-seconds of work that stopping the attempt throws away."""
    since = max((at for at in (run.started_at, run.saved_at) if at is not None), default=None)
    if since is None:
        return 0.0
    return max(0.0, (snapshot.now - since).total_seconds()) * run.counted_gpus


class _Gpu:
    """A GPU that the job could use, and who is on it."""

    def __init__(self, profile: AvailabilityProfile, position: int, job: JobView) -> None:
        gpu = profile.gpus[position]
        on_it = [run for run in profile.snapshot.running if gpu.uuid in run.gpu_uuids]
        on_it.sort(key=lambda run: run.job_id)
        started = any(not part.attempt for part in profile.gpu_shares[position])
        self.staying = [run for run in on_it if not run.stopping]
        # Open now, or all attempts there are ending and no other came.
        going = bool(on_it) and not self.staying and not started
        self.is_coming = profile.open[position] or going
        candidates = [run for run in self.staying if _may_stop(profile, run, job)]
        self.candidates = candidates
        self.can_clear = bool(candidates) and candidates == self.staying and not started
        self.in_shares = bool(profile.gpu_shares[position])
        taken = sum(part.size for part in profile.gpu_shares[position])
        leaving = sum(run.memory_bytes or 0 for run in on_it if run.stopping)
        self.room = gpu.memory_total_bytes - taken + leaving


def _may_stop(profile: AvailabilityProfile, run: RunningView, job: JobView) -> bool:
    if not run.preemptible or run.priority >= job.priority:
        return False
    if run.priority < 0 or run.eligible_at is None:
        return True
    return profile.snapshot.now - run.eligible_at <= profile.settings.age_cap


def _clearing(snapshot: Snapshot, gpus: Sequence[_Gpu]) -> list[Choice]:
    """Attempts to stop for whole GPUs: each attempt once, all shares of a GPU together."""
    found: dict[tuple[str, ...], tuple[list[RunningView], int]] = {}
    for gpu in gpus:
        if gpu.can_clear:
            key = tuple(run.attempt for run in gpu.candidates)
            found[key] = (gpu.candidates, found.get(key, ([], 0))[1] + 1)
    return [_choice(snapshot, runs, frees) for runs, frees in found.values()]


def _for_share(
    profile: AvailabilityProfile, job: JobView, gpus: Sequence[_Gpu]
) -> tuple[RunningView, ...]:
    need, snapshot = job.gpu_memory_bytes or 0, profile.snapshot
    options: list[list[Choice]] = []
    for gpu in gpus:
        if gpu.is_coming or (gpu.in_shares and gpu.room >= need):
            return ()
        if gpu.in_shares:
            parts = [_choice(snapshot, [run], run.memory_bytes or 0) for run in gpu.candidates]
            options.append(_cheapest(parts, need - gpu.room))
        elif gpu.can_clear:
            options.append([_choice(snapshot, gpu.candidates, need)])
    return _runs(min((chosen for chosen in options if chosen), key=_price, default=[]))


def _choice(snapshot: Snapshot, runs: Sequence[RunningView], frees: int) -> Choice:
    return Choice(tuple(runs), frees, sum(lost_s(snapshot, run) for run in runs))


def _runs(choices: Sequence[Choice]) -> tuple[RunningView, ...]:
    return tuple(run for choice in choices for run in choice.runs)


def _price(choices: Sequence[Choice]) -> tuple[float, int, int]:
    return (
        sum(choice.lost_s for choice in choices),
        sum(len(choice.runs) for choice in choices),
        -max(choice.latest for choice in choices),
    )


def _cheapest(choices: list[Choice], short: int) -> list[Choice]:
    """The choices that free at least `short` for the least; none if all together do not."""
    if short <= 0 or sum(choice.frees for choice in choices) < short:
        return []
    choices.sort(key=lambda choice: (choice.lost_s, -choice.latest))
    if len(choices) > _MOST_EXACT:
        return _one_by_one(choices, short)
    sets = (
        list(chosen)
        for size in range(1, len(choices) + 1)
        for chosen in combinations(choices, size)
        if sum(choice.frees for choice in chosen) >= short
    )
    return min(sets, key=lambda chosen: _price(chosen)[:2])


def _one_by_one(choices: Sequence[Choice], short: int) -> list[Choice]:
    """The cheapest for what they free until there is enough, then without what was not needed."""
    chosen: list[Choice] = []
    for choice in sorted(choices, key=lambda one: (one.lost_s / one.frees, -one.latest)):
        chosen.append(choice)
        if sum(one.frees for one in chosen) >= short:
            break
    for choice in sorted(chosen, key=lambda one: -one.lost_s):
        if sum(one.frees for one in chosen) - choice.frees >= short:
            chosen.remove(choice)
    return chosen
