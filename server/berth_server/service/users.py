"""Who has what on the box."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from berth.protocol.server import UserList, UserSummary
from berth_server.store import gpus, jobs

if TYPE_CHECKING:
    from berth_server.service.service import Service

_WEEK_S = 7 * 86400.0


def summarise(service: Service) -> UserList:
    """Everybody who ever submitted a job; those with most GPUs, then most use, first."""
    now = service.clock()
    hours: Counter[str] = Counter()
    for user, begin, end in gpus.lease_spans(service.db.read, now - _WEEK_S):
        span_s = (end if end is not None else now) - max(begin, now - _WEEK_S)
        hours[user] += max(span_s, 0.0) / 3600  # pyright: ignore[reportArgumentType] - counts hours
    board = service.board
    held = Counter(lease.user for lease in board.leases.values())
    for shares in board.shares.values():
        # Two shares of one card are still one card.
        held.update({share.user for share in shares})
    users = [
        UserSummary(
            user=user,
            running=running,
            pending=pending,
            gpus=held[user],
            gpu_hours_7d=round(float(hours[user]), 3),
        )
        for user, running, pending in jobs.per_user(service.db.read)
    ]
    return UserList(users=sorted(users, key=lambda u: (-u.gpus, -u.gpu_hours_7d, u.user)))
