"""Order in which ready jobs are offered the GPUs, and the score that makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import exp, inf, log, sqrt
from operator import attrgetter

from berth.protocol.explain import PointsKind
from berth_server.core.availability import AvailabilityProfile
from berth_server.core.model import JobView, Snapshot
from berth_server.core.readiness import is_ready
from berth_server.core.settings import PolicySettings
from berth_server.core.whole_box_order import CHAIN, Block, blocks_before

KINDS: tuple[PointsKind, ...] = ("length", "size", "fit", "age", "fair_share")
"""Factors of the score in the order of a row, see `Scorer.rows`."""
_MOST_POINTS = 100.0
"""More would not change the order and soon not be a number."""
_PART_PRESSES_FROM, _SINGLE_PRESSES_FROM, _WHOLE_BOX_PRESSES_FROM = 1 / 3, 1 / 2, 2 / 3
"""Part of the age cap from which on a job gains points for nearing it: a gang of a part of the box,
which is passed over while GPUs come free singly, first; one of the whole box, for which all
others have to wait, last."""
_SUPPOSED = 10
"""Without any history one job in so many is taken to need the whole box."""


def ranked(profile: AvailabilityProfile) -> tuple[list[JobView], int]:
    """
    Return the ready jobs, next first, and how many of them are past the age cap.

    1. Jobs past the age cap, longest waiting first. Jobs of negative priority have no cap:
       they asked to come last.
    2. Higher priority first.
    3. Higher score first (`Scorer.scores`), the lower id among equals.
    4. Gangs of the whole box come where the box is cleared for them (`whole_box_order.blocks_before`).
    """
    snapshot = profile.snapshot
    now = snapshot.now
    aged_before = now.timestamp() - profile.settings.age_cap.total_seconds()
    by_id = sorted(snapshot.queue, key=attrgetter("id"))
    ready = [job for job in by_id if job.unconditional or is_ready(job, now)]
    aged = [job for job in ready if job.since_ts < aged_before and job.priority >= 0]
    if aged:
        aged.sort(key=lambda job: (job.since_ts, job.id))
        ready = [job for job in ready if job.since_ts >= aged_before or job.priority < 0]
    order = aged.copy()
    scorer = Scorer(profile)
    # Stable sorts by one number each: equals stay in the order of their ids.
    ready.sort(key=attrgetter("priority"), reverse=True)
    for _, group in groupby(ready, key=attrgetter("priority")):
        order += _peers_ranked(list(group), scorer, profile)
    return order, len(aged)


def _peers_ranked(
    peers: list[JobView], scorer: Scorer, profile: AvailabilityProfile
) -> list[JobView]:
    """Jobs of one priority in their order."""
    # Gangs of the whole box are separated before anything is sorted: jobs in the order of
    # their points lie scattered in memory, and looking at each once more takes milliseconds.
    box = len(profile.gpus)
    gangs = [job for job in peers if job.gpus == box] if box > 1 else []
    if not gangs:
        return _by_score(peers, scorer)
    order = _by_score([job for job in peers if job.gpus != box], scorer)
    gangs = _by_score(gangs, scorer)
    (gang,) = scorer.blocks(gangs[:1], scorer.whole_box)
    place = blocks_before(gang, scorer.blocks(order[:CHAIN]), profile.expected_s)
    order[place:place] = gangs
    return order


def _by_score(jobs: list[JobView], scorer: Scorer) -> list[JobView]:
    scores = scorer.scores(jobs)
    return [jobs[i] for i in sorted(range(len(jobs)), key=scores.__getitem__, reverse=True)]


class Scorer:
    """Scores jobs at the moment of a snapshot, on a profile on which nothing was started yet."""

    def __init__(self, profile: AvailabilityProfile) -> None:
        settings = profile.settings
        box = len(profile.gpus)
        self.settings = settings
        self.box = box
        self.now_ts = profile.snapshot.now.timestamp()
        self.fair = _fair_share(profile.snapshot, settings)
        self.unknown_s = settings.limit_used * settings.assumed_length.total_seconds()
        self.whole_box = _whole_box_weight(profile.snapshot, settings.whole_box_weight)
        """Weight of a gang of the whole box beside one other job."""
        # By number of GPUs, up to one more than the box has: points always and if they fit now,
        # the wait that is worth a point, and when that many GPUs should be free.
        sizes = range(2, box + 2)
        self.by_size = [0.0, 0.0, *[settings.size_weight * log(gpus) for gpus in sizes]]
        self.by_fit = [0.0, 0.0, *[settings.fit_weight * log(gpus) for gpus in sizes]]
        self.age_scales_s = [settings.age_scale.total_seconds()] * (box + 2)
        # From which wait on it gains points for nearing the age cap, and how many a second.
        presses_from = [inf, _SINGLE_PRESSES_FROM, *[_PART_PRESSES_FROM] * len(sizes)]
        weights = [settings.pressing_weight] * (box + 2)
        if box > 1:
            self.by_fit[box] = 0.0
            self.age_scales_s[box] = settings.whole_box_age_scale.total_seconds()
            presses_from[box] = _WHOLE_BOX_PRESSES_FROM
            weights[box] = settings.whole_box_pressing_weight
        cap_s = settings.age_cap.total_seconds()
        self.presses_from_s = [cap_s * part for part in presses_from]
        self.pressing_per_s = [
            weight / (cap_s - from_s) if from_s < cap_s else 0.0
            for weight, from_s in zip(weights, self.presses_from_s, strict=True)
        ]
        self.free_s = [0.0, *sorted(profile.expected_s), inf]

    def rows(self, jobs: Sequence[JobView]) -> Iterator[tuple[float, float, float, float, float]]:
        """
        Yield the points of each job, as in `KINDS`: for length, size, fit, age and fair share.

        Waiting counts with its square, so that no job waits out of all proportion. A job that
        nears the age cap gains more: past it all go one after the other and none starts behind
        them, so those who would pass it together are spread out before it.

        This is where a pass over a long queue spends its time: tables in local names, no calls
        that most jobs can do without.
        """
        now_ts, most_age, fair = self.now_ts, self.settings.most_age, self.fair
        by_size, by_fit, scales_s = self.by_size, self.by_fit, self.age_scales_s
        from_s, per_s, most = self.presses_from_s, self.pressing_per_s, self.box + 1
        for job, length_s in zip(jobs, self._lengths_s(jobs), strict=True):
            size = most if (gpus := job.gpus) > most else gpus
            fit = by_fit[size]
            wait_s = now_ts - job.since_ts
            age = wait_s / scales_s[size]
            age = most_age * most_age if age > most_age else age * age
            if wait_s > from_s[size]:
                age += per_s[size] * (wait_s - from_s[size])
            yield (
                -log(length_s),
                by_size[size],
                fit and fit * self._fit(length_s, size),
                age,
                fair[job.user] if fair else 0.0,
            )

    def scores(self, jobs: Sequence[JobView]) -> list[float]:
        """Return all points of each job: for a short length, age, GPUs that fit, little usage."""
        return [
            length + size + fit + age + fair_share
            for length, size, fit, age, fair_share in self.rows(jobs)
        ]

    def terms(self, job: JobView) -> dict[PointsKind, float]:
        """Return the points of one job, by what they are given for."""
        return dict(zip(KINDS, next(self.rows([job])), strict=True))

    def blocks(self, jobs: Sequence[JobView], weight: float = 1.0) -> list[Block]:
        """Return jobs as they are compared with a gang of the whole box: no length, no fit."""
        return [
            Block(
                weight=weight * exp(min(_MOST_POINTS, size + age + fair_share)),
                length_s=self.length_s(job),
                gpus=min(job.gpus, self.box),
            )
            for job, (_, size, _, age, fair_share) in zip(jobs, self.rows(jobs), strict=True)
        ]

    def length_s(self, job: JobView) -> float:
        """Return the run time that a job is scored with, seconds."""
        return self._lengths_s([job])[0]

    def waited_s(self, job: JobView) -> float:
        """Return how long a job has been waiting, seconds."""
        return self.now_ts - job.since_ts

    def fit(self, job: JobView) -> float:
        """Return how near its GPUs are: 1 when they are open now, 0 when they are not in sight."""
        return self._fit(self.length_s(job), min(job.gpus, self.box + 1)) if job.gpus > 1 else 0.0

    def _lengths_s(self, jobs: Sequence[JobView]) -> list[float]:
        shortest_s, unknown_s = self.settings.shortest.total_seconds(), self.unknown_s
        limit_used = self.settings.limit_used
        lengths_s: list[float] = []
        for job in jobs:
            length_s = job.expected_s
            if length_s is None:
                limit_s = job.limit_s
                length_s = unknown_s if limit_s is None else limit_used * limit_s
            lengths_s.append(shortest_s if length_s < shortest_s else length_s)  # noqa: FURB136
        return lengths_s

    def _fit(self, length_s: float, size: int) -> float:
        wait_s = self.free_s[size]
        if not wait_s:
            return 1.0
        near_s = self.settings.fit_reach * length_s
        return near_s / (near_s + wait_s)


def _whole_box_weight(snapshot: Snapshot, weight: float) -> float:
    """
    Return what one gang of the whole box counts for beside one other job: more, the rarer.

    Every job alike would let the waits of a few gangs vanish in the sum; every size alike would
    let one rare gang hold up hundreds. The square root lies between. Runs that ended and jobs
    that wait tell how rare they are.
    """
    box = len(snapshot.gpus)
    jobs = sum(snapshot.sizes.values()) + len(snapshot.queue)
    gangs = snapshot.sizes.get(box, 0) + [job.gpus for job in snapshot.queue].count(box)
    return weight * sqrt((jobs + _SUPPOSED) / (gangs + 1))


def _fair_share(snapshot: Snapshot, settings: PolicySettings) -> dict[str, float]:
    """Points per user: the weight times 2^(-used part / due part), as Slurm counts it."""
    usage = snapshot.user_usage
    total = sum(use.decayed_gpu_s for use in usage.values())
    if total <= 0 or settings.fair_share_weight == 0:
        return {}
    users = {job.user for job in snapshot.queue} | usage.keys()
    shares = {user: max(0.0, settings.shares.get(user, 1.0)) for user in users}
    all_shares = sum(shares.values())
    points: dict[str, float] = {}
    for user, share in shares.items():
        used = usage[user].decayed_gpu_s / total if user in usage else 0.0
        factor = 2.0 ** (-used * all_shares / share) if share > 0 else 0.0
        points[user] = settings.fair_share_weight * factor
    return points
