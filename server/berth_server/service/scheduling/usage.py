"""Usage of GPUs per user and group, for fair share and for budgets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from berth_server.core.gpu_share import share_fraction
from berth_server.core.model import Usage
from berth_server.core.settings import USAGE_HALF_LIFE, PolicySettings
from berth_server.service.scheduling.cache import AttemptKey, SchedulerCache
from berth_server.store import gpus
from berth_server.store.database import Reader
from berth_server.store.records import AttemptRecord

_COUNTED = 1000
# After so many half-lives less than a thousandth is left.
_HALF_LIVES = 10


class UsageAccounts:
    """GPU time by user; loaded from the database at the start."""

    def __init__(self, settings: PolicySettings, reader: Reader, now: float) -> None:
        """Load the leases that still count."""
        self._half_life_s = USAGE_HALF_LIFE.total_seconds()
        self._zone = settings.zone
        self._used: dict[str, tuple[float, float]] = {}
        """By user: GPU seconds as of a moment, decayed up to it."""
        self._budget: dict[str, float] = {}
        """By user: GPU seconds released in the month that began at `_month`."""
        self._month = self._month_of(now)
        self._counted: dict[AttemptKey, None] = {}
        """The attempts last released, oldest first."""
        since = min(now - _HALF_LIVES * self._half_life_s, self._month)
        for span in gpus.lease_spans(reader, since):
            if span.end is not None:
                counts = share_fraction(span.memory_bytes, span.gpu_bytes)
                self._add(span.user, max(span.begin, since), span.end, counts)

    def released(self, record: AttemptRecord, cache: SchedulerCache, now: float) -> None:
        """Count an attempt that is being released. Counting it again after a rollback changes nothing."""
        key = (record.job_id, record.number)
        if key in self._counted:
            return
        self._counted[key] = None
        if len(self._counted) > _COUNTED:
            del self._counted[next(iter(self._counted))]
        run = cache.running[key]
        self._add(run.user, record.created_at, now, run.counted_gpus)

    def by_user_and_group(
        self, cache: SchedulerCache, now: float, group_of: Callable[[str], str | None]
    ) -> tuple[dict[str, Usage], dict[str, Usage]]:
        """Return recent GPU usage per user and per group, including current leases."""
        month = self._month_of(now)
        if month != self._month:
            self._month = month
            self._budget.clear()
        faded = {user: self._left(user, now) for user in self._used}
        budget = dict(self._budget)
        for key, record in cache.alive.items():
            run = cache.running[key]
            count = run.counted_gpus
            held_s = max(0.0, now - record.created_at)
            within_s = max(0.0, now - max(record.created_at, month))
            faded[run.user] = faded.get(run.user, 0.0) + held_s * count
            budget[run.user] = budget.get(run.user, 0.0) + within_s * count
        users = {
            user: Usage(decayed_gpu_s=faded.get(user, 0.0), budget_gpu_s=budget.get(user, 0.0))
            for user in faded.keys() | budget.keys()
        }
        return users, _by_group(users, group_of)

    def _month_of(self, now: float) -> float:
        """Start of the calendar month of a moment, where budgets start again; unix seconds."""
        local = datetime.fromtimestamp(now, self._zone)
        return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()

    def _left(self, user: str, now: float) -> float:
        value, at = self._used.get(user, (0.0, now))
        return value * 0.5 ** (max(0.0, now - at) / self._half_life_s)

    def _add(self, user: str, begin: float, end: float, count: float) -> None:
        last = self._used.get(user, (0.0, end))[1]
        self._used[user] = (self._left(user, end) + (end - begin) * count, max(end, last))
        within_s = max(0.0, end - max(begin, self._month))
        self._budget[user] = self._budget.get(user, 0.0) + within_s * count


def _by_group(users: dict[str, Usage], group_of: Callable[[str], str | None]) -> dict[str, Usage]:
    groups: dict[str, Usage] = {}
    for user, usage in users.items():
        name = group_of(user)
        if name is None:
            continue
        known = groups.get(name, Usage())
        groups[name] = Usage(
            decayed_gpu_s=known.decayed_gpu_s + usage.decayed_gpu_s,
            budget_gpu_s=known.budget_gpu_s + usage.budget_gpu_s,
        )
    return groups
