"""Snapshot of the box and the queue, the scheduler's only input."""

from __future__ import annotations

from berth_server.core.model import ReservationView, Snapshot
from berth_server.service.ablations.limits import ablation_views
from berth_server.service.gpus.worker_state import gpu_views
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState


def snapshot(server: ServerState, now: float) -> Snapshot:
    """Return the whole box and queue at this moment."""
    cache, worker = server.cache, server.worker_state
    fresh = worker.fresh(now, server.options.stale_after_s)
    users, groups = server.usage.by_user_and_group(cache, now, server.groups.of)
    return Snapshot(
        now=moment(now),
        gpus=gpu_views(worker, cache, server.drains, fresh=fresh),
        links=worker.snapshot.links if worker.snapshot else (),
        queue=tuple(cache.pending.values()),
        running=server.progress.with_remaining(cache.running, now),
        worker_ok=fresh,
        reservations=_reservations(server, now),
        user_usage=users,
        group_usage=groups,
        sizes=server.run_history.sizes,
        ablations=ablation_views(cache, now),
    )


def _reservations(server: ServerState, now: float) -> tuple[ReservationView, ...]:
    current = [one for one in server.reservations if one.ends_at > now]
    if not current:
        return ()
    users = {view.user for view in server.cache.pending.values()}
    return tuple(
        ReservationView(
            id=one.id,
            gpu_uuids=one.gpus,
            starts_at=moment(one.starts_at),
            ends_at=moment(one.ends_at),
            users=frozenset(one.users),
            groups=frozenset(one.groups),
            reason=one.reason,
            members=frozenset(
                user for user in users for group in one.groups if server.groups.has(group, user)
            ),
        )
        for one in current
    )
