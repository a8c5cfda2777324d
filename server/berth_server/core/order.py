"""In which order ready jobs are offered the GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import exp, inf, log, sqrt
from operator import attrgetter

from berth.protocol.explain import PointsKind
from berth_server.core.availability import Board
from berth_server.core.model import JobView, Snapshot
from berth_server.core.readiness import is_ready
from berth_server.core.settings import PolicySettings
from berth_server.core.whole_box_order import CHAIN, Turn, turns_before

_MOST_POINTS = 100.0
"""More would not change the order and soon not be a number."""
_PART_PRESSES_FROM, _SINGLE_PRESSES_FROM, _WHOLE_BOX_PRESSES_FROM = 1 / 3, 1 / 2, 2 / 3
"""Part of the age cap from which on a job gains points for nearing it: a gang of a part of the box,
which is passed over while GPUs come free singly, first; one of the whole box, for which everybody
else has to wait, last."""
_SUPPOSED = 10
"""Without any history one job in so many is taken to need the whole box."""


def ranked(board: Board) -> tuple[list[JobView], int]:
    """
    Return the ready jobs, next first, and how many of them are past the age cap.

    1. Jobs past the age cap, longest waiting first. Jobs of negative priority have no cap:
       they asked to come last.
    2. Higher priority first.
    3. More points first (`Weigher.points`), the lower id among equals.
    4. Gangs of the whole box come where the box is cleared for them (`clearing.turns_before`).
    """
    snapshot = board.snapshot
    now = snapshot.now
    aged_before = now.timestamp() - board.settings.age_cap.total_seconds()
    by_id = sorted(snapshot.queue, key=attrgetter("id"))
    ready = [job for job in by_id if job.unconditional or is_ready(job, now)]
    aged = [job for job in ready if job.since_ts < aged_before and job.priority >= 0]
    if aged:
        aged.sort(key=lambda job: (job.since_ts, job.id))
        ready = [job for job in ready if job.since_ts >= aged_before or job.priority < 0]
    order = aged.copy()
    weigher = Weigher(board)
    # Stable sorts by one number each: equals stay in the order of their ids.
    ready.sort(key=attrgetter("priority"), reverse=True)
    for _, group in groupby(ready, key=attrgetter("priority")):
        order += _peers_ranked(list(group), weigher, board)
    return order, len(aged)


def _peers_ranked(peers: list[JobView], weigher: Weigher, board: Board) -> list[JobView]:
    """Jobs of one priority in their order."""
    # Gangs of the whole box are told apart before anything is sorted: jobs in the order of
    # their points lie scattered in memory, and looking at each once more takes milliseconds.
    box = len(board.gpus)
    gangs = [job for job in peers if job.gpus == box] if box > 1 else []
    if not gangs:
        return _by_points(peers, weigher)
    order = _by_points([job for job in peers if job.gpus != box], weigher)
    gangs = _by_points(gangs, weigher)
    gang = weigher.turn(gangs[0], weigher.whole_box)
    chain = [weigher.turn(job) for job in order[:CHAIN]]
    place = turns_before(gang, chain, board.expected_s)
    order[place:place] = gangs
    return order


def _by_points(jobs: list[JobView], weigher: Weigher) -> list[JobView]:
    points = weigher.points(jobs)
    return [jobs[i] for i in sorted(range(len(jobs)), key=points.__getitem__, reverse=True)]


class Weigher:
    """Gives jobs their points at the moment of a snapshot; `board` has nothing started on it yet."""

    def __init__(self, board: Board) -> None:
        settings = board.settings
        box = len(board.gpus)
        self.settings = settings
        self.box = box
        self.now_ts = board.snapshot.now.timestamp()
        self.fair = _fair_share(board.snapshot, settings)
        self.unknown_s = settings.limit_used * settings.assumed_length.total_seconds()
        self.whole_box = _whole_box_weight(board.snapshot, settings.whole_box_weight)
        """What a gang of the whole box counts for beside one other job."""
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
        self.free_s = [0.0, *sorted(board.expected_s), inf]

    def points(self, jobs: Sequence[JobView]) -> list[float]:
        """
        Shorter, bigger, longer waiting, fitting soon, of a user who used little: more points.

        For many jobs at once, because this is where a pass over a long queue spends its time:
        written out, since a call for each job, `min` included, is felt.
        """
        settings, fair, now_ts = self.settings, self.fair, self.now_ts
        by_size, by_fit, free_s = self.by_size, self.by_fit, self.free_s
        limit_used, fit_reach = settings.limit_used, settings.fit_reach
        shortest_s = settings.shortest.total_seconds()
        age_scales_s, most_age = self.age_scales_s, settings.most_age
        most = len(by_size) - 1
        presses_from_s, pressing_per_s = self.presses_from_s, self.pressing_per_s
        found: list[float] = []
        for job in jobs:
            length_s = job.expected_s
            if length_s is None:
                limit_s = job.limit_s
                length_s = self.unknown_s if limit_s is None else limit_used * limit_s
            if length_s < shortest_s:  # noqa: PLR1730
                length_s = shortest_s
            gpus = job.gpus
            if gpus > most:  # noqa: PLR1730
                gpus = most
            waited_s = now_ts - job.since_ts
            age = waited_s / age_scales_s[gpus]
            if age > most_age:  # noqa: PLR1730
                age = most_age
            points = age * age + by_size[gpus] - log(length_s)
            if fair:
                points += fair[job.user]
            fit = by_fit[gpus]
            if fit:
                wait_s = free_s[gpus]
                if wait_s:
                    reach_s = fit_reach * length_s
                    fit *= reach_s / (reach_s + wait_s)
                points += fit
            if waited_s > presses_from_s[gpus]:
                points += pressing_per_s[gpus] * (waited_s - presses_from_s[gpus])
            found.append(points)
        return found

    def parts(self, job: JobView) -> dict[PointsKind, float]:
        """What `points` adds up for one job, by what it is given for; 0 where it is for nothing."""
        gpus = min(job.gpus, len(self.by_size) - 1)
        return {
            "length": -log(self.length_s(job)),
            "size": self.by_size[gpus],
            "fit": self.fit(job) * self.by_fit[gpus],
            "age": self.age(job),
            "fair_share": self.fair.get(job.user, 0.0),
        }

    def turn(self, job: JobView, weight: float = 1.0) -> Turn:
        """The job as it is compared with a gang of the whole box: its points but for fitting."""
        gpus = min(job.gpus, self.box)
        points = self.by_size[gpus] + self.age(job) + self.fair.get(job.user, 0.0)
        counted = weight * exp(min(_MOST_POINTS, points))
        return Turn(weight=counted, length_s=self.length_s(job), gpus=gpus)

    def length_s(self, job: JobView) -> float:
        """How long the job counts as, seconds."""
        length_s = job.expected_s
        if length_s is None:
            limit_s = job.limit_s
            length_s = self.unknown_s if limit_s is None else self.settings.limit_used * limit_s
        return max(length_s, self.settings.shortest.total_seconds())

    def waited_s(self, job: JobView) -> float:
        """How long it has been waiting, seconds."""
        return self.now_ts - job.since_ts

    def age(self, job: JobView) -> float:
        """
        Points for waiting: with its square, so that nobody waits out of all proportion.

        A job that nears the age cap gains more. Past it all go one after the other and nobody
        starts behind them; those who would pass it together are spread out before it.
        """
        gpus, waited_s = min(job.gpus, len(self.age_scales_s) - 1), self.waited_s(job)
        age = min(self.settings.most_age, waited_s / self.age_scales_s[gpus])
        over_s = waited_s - self.presses_from_s[gpus]
        return age * age + (self.pressing_per_s[gpus] * over_s if over_s > 0.0 else 0.0)

    def fit(self, job: JobView) -> float:
        """How near its GPUs are: 1 when they are open now, 0 when they are not in sight."""
        if job.gpus < 2:
            return 0.0
        wait_s = self.free_s[min(job.gpus, len(self.by_size) - 1)]
        if wait_s == 0.0:
            return 1.0
        reach_s = self.settings.fit_reach * self.length_s(job)
        return reach_s / (reach_s + wait_s)


def _whole_box_weight(snapshot: Snapshot, weight: float) -> float:
    """
    Return what one gang of the whole box counts for beside one other job: more, the rarer.

    Every job alike would let the waits of a few gangs vanish in the sum; every size alike would
    let one rare gang hold up hundreds. The square root lies between. Runs that ended and jobs
    that wait tell how rare they are.
    """
    box = len(snapshot.gpus)
    everybody = sum(snapshot.sizes.values()) + len(snapshot.queue)
    gangs = snapshot.sizes.get(box, 0) + [job.gpus for job in snapshot.queue].count(box)
    return weight * sqrt((everybody + _SUPPOSED) / (gangs + 1))


def _fair_share(snapshot: Snapshot, settings: PolicySettings) -> dict[str, float]:
    """Points per user: the weight times 2^(-used part / due part), as Slurm counts it."""
    usage = snapshot.user_usage
    total = sum(use.decayed_gpu_s for use in usage.values())
    if total <= 0 or settings.fair_share_weight == 0:
        return {}
    everyone = {job.user for job in snapshot.queue} | usage.keys()
    shares = {user: max(0.0, settings.shares.get(user, 1.0)) for user in everyone}
    all_shares = sum(shares.values())
    points: dict[str, float] = {}
    for user, share in shares.items():
        used = usage[user].decayed_gpu_s / total if user in usage else 0.0
        factor = 2.0 ** (-used * all_shares / share) if share > 0 else 0.0
        points[user] = settings.fair_share_weight * factor
    return points
