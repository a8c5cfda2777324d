"""Who has what on the box."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from berth.protocol.server import UserList, UserSummary
from berth_server.core.parts import part
from berth_server.store import gpus, jobs

if TYPE_CHECKING:
    from berth_server.service.service import Service

_WEEK_S = 7 * 86400.0


def summarise(service: Service) -> UserList:
    """Everybody who ever submitted a job; those with most GPUs, then most use, first."""
    now = service.clock()
    hours: defaultdict[str, float] = defaultdict(float)
    for span in gpus.lease_spans(service.db.read, now - _WEEK_S):
        span_s = (span.end if span.end is not None else now) - max(span.begin, now - _WEEK_S)
        hours[span.user] += max(span_s, 0.0) / 3600 * part(span.memory_bytes, span.card_bytes)
    held: defaultdict[str, float] = defaultdict(float)
    for run in service.board.running.values():
        held[run.user] += run.counted_gpus
    users = [
        UserSummary(
            user=user,
            running=running,
            pending=pending,
            gpus=round(held[user], 3),
            gpu_hours_7d=round(hours[user], 3),
        )
        for user, running, pending in jobs.per_user(service.db.read)
    ]
    return UserList(users=sorted(users, key=lambda u: (-u.gpus, -u.gpu_hours_7d, u.user)))
