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

KINDS: tuple[PointsKind, ...] = ("length", "fit", "age", "fair_share")
"""Factors of the score in the order of a row, see `Scorer.rows`."""
AGE_POINTS = 12.0
"""Points for waiting that a job at the age cap has; half of them at half the cap."""
FIT_POINTS = 1.2
"""Points per e-fold of the GPUs for a multi-GPU job that fits now on a part of the box: what was
cleared once is used again instead of being broken up."""
FIT_REACH = 0.1
"""A multi-GPU job whose GPUs should be free within this part of its own length has half of the
points for fitting already."""
WHOLE_BOX_WEIGHT = 2.2
"""Weight of a whole-box job beside another job where every job is one; where one in n is, the
square root of n times as much."""
TOLD_GAIN = 0.2
"""Part by which that weight is larger where all running jobs tell how far they are: then it is known
when the box is clear, and little of it stands idle for nothing."""
SHORTEST_S = 60.0
"""Expected lengths below this count as this: the order among tiny jobs does not matter."""
LIMIT_USED = 0.5
"""Part of its time limit that a job without history is expected to use."""
_MOST_POINTS = 100.0
"""More would not change the order and soon not be a number."""
_SUPPOSED = 10
"""Without any history one job in so many is taken to need the whole box."""


def ranked(profile: AvailabilityProfile) -> tuple[list[JobView], int]:
    """
    Return the ready jobs, next first, and how many of them are past the age cap.

    1. Jobs past the age cap, longest waiting first. Jobs of negative priority have no cap:
       they asked to come last.
    2. Higher priority first.
    3. Higher score first (`Scorer.scores`), the lower id among equals.
    4. Jobs that need every GPU that can be had come where the box is cleared for them
       (`whole_box_order.blocks_before`); those that need more come last.
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
        order += _peers_ranked(list(group), scorer)
    return order, len(aged)


def _peers_ranked(peers: list[JobView], scorer: Scorer) -> list[JobView]:
    """Jobs of one priority in their order."""
    # Jobs of the whole box are separated before anything is sorted: jobs in the order of
    # their points lie scattered in memory, and looking at each once more takes milliseconds.
    box = scorer.box
    gangs = [job for job in peers if job.gpus >= box] if box > 1 else []
    if not gangs:
        return _by_score(peers, scorer)
    order = _by_score([job for job in peers if job.gpus < box], scorer)
    needs_box = _by_score([job for job in gangs if job.gpus == box], scorer)
    if needs_box:
        (gang,) = scorer.blocks(needs_box[:1], scorer.whole_box)
        place = blocks_before(gang, scorer.blocks(order[:CHAIN]), scorer.free_s[1 : box + 1])
        order[place:place] = needs_box
    # Those that need more GPUs than can be had wait for a repair, so they hold up nothing.
    return order + _by_score([job for job in gangs if job.gpus > box], scorer)


def _by_score(jobs: list[JobView], scorer: Scorer) -> list[JobView]:
    scores = scorer.scores(jobs)
    return [jobs[i] for i in sorted(range(len(jobs)), key=scores.__getitem__, reverse=True)]


class Scorer:
    """Scores jobs at the moment of a snapshot, on a profile on which nothing was started yet."""

    def __init__(self, profile: AvailabilityProfile) -> None:
        settings = profile.settings
        free_s = sorted(profile.expected_s)
        box = sum(at_s < inf for at_s in free_s)
        self.settings = settings
        self.box = box
        """Number of GPUs that can be had: a job of this many needs the whole box."""
        self.now_ts = profile.snapshot.now.timestamp()
        self.cap_s = settings.age_cap.total_seconds()
        self.fair = _fair_share(profile.snapshot, settings)
        self.unknown_s = LIMIT_USED * settings.assumed_length.total_seconds()
        self.whole_box = _whole_box_weight(profile.snapshot, box) * (1.0 + TOLD_GAIN * profile.told)
        """Weight of a job of the whole box beside one other job."""
        # By number of GPUs, up to one more than the box has: points if they fit now, and when
        # that many GPUs should be free.
        self.by_fit = [FIT_POINTS * log(max(1, gpus)) for gpus in range(box + 2)]
        self.by_fit[box:] = [0.0] * len(self.by_fit[box:])
        self.free_s = [0.0, *free_s, inf]

    def rows(self, jobs: Sequence[JobView]) -> Iterator[tuple[float, float, float, float]]:
        """
        Yield the points of each job, as in `KINDS`: for length, fit, age and fair share.

        The age counts as a part of the age cap, on one curve: hardly at first, so that a short
        queue goes by lengths; most steeply at half the cap; flat at the cap, where jobs that
        waited alike go by lengths once more.

        This is where a pass over a long queue spends its time: tables in local names, no calls
        that most jobs can do without.
        """
        now_ts, cap_s, fair = self.now_ts, self.cap_s, self.fair
        by_fit, most = self.by_fit, self.box + 1
        for job, length_s in zip(jobs, self._lengths_s(jobs), strict=True):
            size = most if (gpus := job.gpus) > most else gpus
            fit = by_fit[size]
            age = (now_ts - job.since_ts) / cap_s
            yield (
                -log(length_s),
                fit and fit * self._fit(length_s, size),
                AGE_POINTS * age * age * (3.0 - 2.0 * age) if age < 1.0 else AGE_POINTS,
                fair[job.user] if fair else 0.0,
            )

    def scores(self, jobs: Sequence[JobView]) -> list[float]:
        """Return all points of each job: for a short length, age, GPUs that fit, little usage."""
        return [length + fit + age + fair_share for length, fit, age, fair_share in self.rows(jobs)]

    def terms(self, job: JobView) -> dict[PointsKind, float]:
        """Return the points of one job, by what they are given for."""
        return dict(zip(KINDS, next(self.rows([job])), strict=True))

    def blocks(self, jobs: Sequence[JobView], weight: float = 1.0) -> list[Block]:
        """Return jobs as Smith's rule compares them with one of the whole box: age counts nothing."""
        return [
            Block(
                weight=weight * exp(min(_MOST_POINTS, fair_share)),
                length_s=self.length_s(job),
                gpus=min(job.gpus, self.box),
            )
            for job, (_, _, _, fair_share) in zip(jobs, self.rows(jobs), strict=True)
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
        unknown_s = self.unknown_s
        lengths_s: list[float] = []
        for job in jobs:
            length_s = job.expected_s
            if length_s is None:
                limit_s = job.limit_s
                length_s = unknown_s if limit_s is None else LIMIT_USED * limit_s
            lengths_s.append(SHORTEST_S if length_s < SHORTEST_S else length_s)  # noqa: FURB136
        return lengths_s

    def _fit(self, length_s: float, size: int) -> float:
        wait_s = self.free_s[size]
        if not wait_s:
            return 1.0
        near_s = FIT_REACH * length_s
        return near_s / (near_s + wait_s)


def _whole_box_weight(snapshot: Snapshot, box: int) -> float:
    """
    Weight of one job of the whole box beside one other job: more, the rarer.

    Every job alike would let the waits of a few such jobs vanish in the sum; every size alike
    would let one rare job hold up hundreds. The square root lies between. Runs that ended and
    jobs that wait tell how rare they are.
    """
    jobs = sum(snapshot.sizes.values()) + len(snapshot.queue)
    gangs = sum(runs for size, runs in snapshot.sizes.items() if size >= box)
    gangs += sum(job.gpus >= box for job in snapshot.queue)
    return WHOLE_BOX_WEIGHT * sqrt((jobs + _SUPPOSED) / (gangs + 1))


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
