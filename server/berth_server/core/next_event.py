"""Next moment at which a new plan is due although nothing happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter

from berth_server.core.calendar import next_change
from berth_server.core.model import JobView, Snapshot
from berth_server.core.settings import REPLAN_EVERY, PolicySettings

_TICK = timedelta(microseconds=1)
_LONGEST_S = 3e9


def wake_at(
    snapshot: Snapshot, settings: PolicySettings, young: Sequence[JobView]
) -> datetime | None:
    """
    The next moment at which the facts change by themselves; None if there is none.

    `young` are the ready jobs below the age cap.
    """
    now = snapshot.now
    return min((at for at in _moments(snapshot, settings, young) if at > now), default=None)


def _moments(
    snapshot: Snapshot, settings: PolicySettings, young: Sequence[JobView]
) -> Iterator[datetime]:
    now = snapshot.now
    yield from [job.not_before for job in snapshot.queue if job.not_before is not None]
    for gpu in snapshot.gpus:
        if gpu.unavailable is not None and gpu.unavailable.until is not None:
            yield gpu.unavailable.until
    for reservation in snapshot.reservations:
        yield reservation.starts_at
        yield reservation.ends_at
    if not young:
        return
    oldest_s = min(map(attrgetter("since_ts"), young)) - now.timestamp()
    yield now + timedelta(seconds=max(-_LONGEST_S, oldest_s)) + settings.age_cap + _TICK
    change = next_change(settings.calendar, now, settings.zone)
    if change is not None:
        yield change
    if any(gpu.lease is None and gpu.unavailable is None for gpu in snapshot.gpus):
        # With GPUs open, time alone can change the order and the shadows.
        yield now + REPLAN_EVERY
