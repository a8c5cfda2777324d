"""In which order ready jobs are offered the GPUs."""

from __future__ import annotations

from math import log

from berth_server.core.model import JobView, Snapshot
from berth_server.core.readiness import is_ready
from berth_server.core.settings import PolicySettings


def ranked(snapshot: Snapshot, settings: PolicySettings) -> tuple[list[JobView], int]:
    """
    Return the ready jobs, next first, and how many of them are past the age cap.

    1. Jobs past the age cap, longest waiting first (jobs of negative priority have no cap:
       they asked to come last).
    2. Higher priority first.
    3. More points first, see `points`.
    4. Longer waiting first, then the lower id.
    """
    now = snapshot.now
    now_ts = now.timestamp()
    aged_before = now_ts - settings.age_cap.total_seconds()
    aged: list[JobView] = []
    rest: list[tuple[int, float, float, int, JobView]] = []
    fair = _fair_share(snapshot, settings)
    length_weight = settings.length_weight
    size_weight = settings.size_weight
    age_weight_s = settings.age_weight / 3600.0
    n_open = sum(1 for gpu in snapshot.gpus if gpu.lease is None and gpu.unavailable is None)
    fit = (
        [settings.fit_weight * log(g or 1) if g <= n_open else 0.0 for g in range(2000)]
        if settings.fit_weight
        else None
    )
    for job in snapshot.queue:
        if not is_ready(job, now):
            continue
        since = job.since_ts
        if since < aged_before and job.priority >= 0:
            aged.append(job)
            continue
        cost = (
            length_weight * job.log_length(settings)
            - size_weight * log(job.gpus or 1)
            + age_weight_s * since
            - fair.get(job.user, 0.0)
        )
        if fit is not None:
            cost -= fit[job.gpus] * (1 + (now_ts - since) / 3600 / settings.fit_tau_h)
        rest.append((-job.priority, cost, since, job.id, job))
    aged.sort(key=lambda job: (job.since_ts, job.id))
    rest.sort()
    due_ts = now_ts - settings.patience_h * 3600
    if due_ts > 0:
        due = sorted(
            (e for e in rest if e[2] < due_ts and e[4].gpus > 1), key=lambda e: (e[2], e[3])
        )[: settings.due_max]
        if due:
            ids = {e[3] for e in due}
            rest = due + [e for e in rest if e[3] not in ids]
    return [*aged, *(entry[4] for entry in rest)], len(aged)


def _fair_share(snapshot: Snapshot, settings: PolicySettings) -> dict[str, float]:
    """Points per user: the weight times 2^(-used part / due part), as Slurm counts it."""
    usage = snapshot.user_usage
    total = sum(u.decayed_gpu_s for u in usage.values())
    if not total or not settings.fair_share_weight:
        return {}
    everyone = {job.user for job in snapshot.queue} | usage.keys()
    shares = {user: settings.shares.get(user, 1.0) for user in everyone}
    all_shares = sum(shares.values())
    points: dict[str, float] = {}
    for user in everyone:
        used = usage[user].decayed_gpu_s / total if user in usage else 0.0
        due = shares[user] / all_shares
        points[user] = settings.fair_share_weight * (2 ** (-used / due) if due else 0.0)
    return points
