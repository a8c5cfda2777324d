"""In which order ready jobs are offered the GPUs."""

from __future__ import annotations

from math import log, log1p

from berth_server.core.model import JobView, Snapshot
from berth_server.core.readiness import is_ready
from berth_server.core.settings import PolicySettings


def ranked(snapshot: Snapshot, settings: PolicySettings) -> tuple[list[JobView], int]:
    """
    Return the ready jobs, next first, and how many of them are past the age cap.

    1. Jobs past the age cap, longest waiting first. Jobs of negative priority have no cap:
       they asked to come last.
    2. Higher priority first.
    3. More points first (`Weigher.points`).
    4. Longer waiting first, then the lower id.
    """
    now = snapshot.now
    now_ts = now.timestamp()
    aged_before = now_ts - settings.age_cap.total_seconds()
    weigh = Weigher(snapshot, settings).points
    aged: list[JobView] = []
    rest: list[tuple[int, float, float, int, JobView]] = []
    for job in snapshot.queue:
        if not is_ready(job, now):
            continue
        since = job.since_ts
        if since < aged_before and job.priority >= 0:
            aged.append(job)
        else:
            rest.append((-job.priority, -weigh(job), since, job.id, job))
    aged.sort(key=lambda job: (job.since_ts, job.id))
    rest.sort()
    return [*aged, *[entry[4] for entry in rest]], len(aged)


class Weigher:
    """Gives jobs their points at the moment of a snapshot."""

    def __init__(self, snapshot: Snapshot, settings: PolicySettings) -> None:
        self.settings = settings
        self.now_ts = snapshot.now.timestamp()
        self.fair = _fair_share(snapshot, settings)
        self.age_weight = settings.age_weight
        self.age_scale_s = settings.age_scale.total_seconds()
        self.shortest_s = settings.shortest.total_seconds()
        self.unknown_s = settings.limit_used * settings.assumed_length.total_seconds()
        n_open = sum(
            1
            for gpu in snapshot.gpus
            if gpu.lease is None and gpu.unavailable is None and not gpu.shares
        )
        self.by_size = _size_points(settings, n_open, len(snapshot.gpus))

    def points(self, job: JobView) -> float:
        """Shorter, bigger, longer waiting, fitting now, of a user who used little: more points."""
        length_s = max(self.shortest_s, self.length_s(job))
        waited_s = max(0.0, self.now_ts - job.since_ts)
        return (
            self.age_weight * log1p(waited_s / self.age_scale_s)
            - log(length_s)
            + self.by_size[min(job.gpus, len(self.by_size) - 1)]
            + self.fair.get(job.user, 0.0)
        )

    def length_s(self, job: JobView) -> float:
        """The expected run time: from history, else from the limit, else the assumption."""
        estimate, limit_s = job.estimate, job.limit_s
        if estimate is None:
            return self.unknown_s if limit_s is None else self.settings.limit_used * limit_s
        return estimate.mean_s if limit_s is None else min(limit_s, estimate.mean_s)


def _size_points(settings: PolicySettings, n_open: int, box: int) -> list[float]:
    """Points by number of GPUs, up to one more than the box has."""
    points = [0.0, 0.0]
    for gpus in range(2, box + 2):
        weight = settings.size_weight
        if gpus <= n_open:
            weight += settings.whole_box_weight if gpus == box else settings.fit_weight
        points.append(weight * log(gpus))
    return points


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
