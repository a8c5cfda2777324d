"""Overview of users: their jobs, GPUs and GPU-hours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from berth.protocol.server import UserList, UserSummary
from berth_server.core.gpu_share import share_fraction
from berth_server.service.gpus.idle import Work
from berth_server.service.state import ServerState
from berth_server.store import gpus, jobs
from berth_server.store.gpus import LeaseSpan

_WEEK_S = 7 * 86400.0


def week(server: ServerState) -> tuple[list[LeaseSpan], float, float]:
    """The leases of the last seven days, and from when to when that is."""
    now = server.clock()
    return gpus.lease_spans(server.db.read, now - _WEEK_S), now - _WEEK_S, now


def summarise(server: ServerState, work: Mapping[str, Work]) -> UserList:
    """
    All users who ever submitted a job; those with most GPUs, then most use, first.

    `work` tells how the GPUs of the week worked, by user, for those that were seen.
    """
    spans, _, now = week(server)
    hours: defaultdict[str, float] = defaultdict(float)
    for span in spans:
        span_s = (span.end if span.end is not None else now) - max(span.begin, now - _WEEK_S)
        hours[span.user] += (
            max(span_s, 0.0) / 3600 * share_fraction(span.memory_bytes, span.gpu_bytes)
        )
    held: defaultdict[str, float] = defaultdict(float)
    for run in server.cache.running.values():
        held[run.user] += run.counted_gpus
    users = [
        UserSummary(
            user=user,
            running=running,
            pending=pending,
            gpus=round(held[user], 3),
            gpu_hours_7d=round(hours[user], 3),
            **_worked(work.get(user)),
        )
        for user, running, pending in jobs.per_user(server.db.read)
    ]
    return UserList(users=sorted(users, key=lambda u: (-u.gpus, -u.gpu_hours_7d, u.user)))


def _worked(work: Work | None) -> dict[str, float | None]:
    if work is None or not work.seen_gpu_s:
        return {"idle_gpu_hours_7d": None, "utilization_percent_7d": None}
    return {
        "idle_gpu_hours_7d": round(work.idle_gpu_s / 3600, 3),
        "utilization_percent_7d": round(100 * work.busy_gpu_s / work.seen_gpu_s, 1),
    }
