"""Idleness of a running attempt's GPUs, and what the box's policy does about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

IDLE_PERCENT = 5
"""A GPU below this utilisation is idle."""
EXEMPT = ("idle", "ok")
"""Label of jobs that the policy leaves alone."""
_TOLD = timedelta(minutes=30)
# Without a look for so long, nobody knows what the GPUs did.
_GAP_S = 60.0


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """Times after which jobs with idle GPUs are told and stopped; none by default."""

    tell_after: timedelta | None = None
    stop_after: timedelta | None = None

    @property
    def told_after(self) -> timedelta | None:
        """Time after which a job is told: before it is stopped in any case."""
        if self.stop_after is None or self.tell_after is not None:
            return self.tell_after
        return min(_TOLD, self.stop_after / 2)

    def applies(self, labels: Mapping[str, str]) -> bool:
        """Return whether a job with these labels is looked at."""
        return self.told_after is not None and labels.get(EXEMPT[0]) != EXEMPT[1]


@dataclass(slots=True)
class Idleness:
    """Memory of one attempt: since when all of its GPUs have been idle."""

    since: float | None = None
    _seen_at: float = float("-inf")

    def look(self, now: float, percents: Sequence[int | None]) -> float:
        """
        Take in the present utilisation of all its GPUs; return for how long they have been idle.

        Every look has to find all of them idle. One that is not known is not idle, and a gap
        between looks begins anew.
        """
        idle = bool(percents) and all(one is not None and one < IDLE_PERCENT for one in percents)
        if not idle or now - self._seen_at > _GAP_S:
            self.since = None
        if idle and self.since is None:
            self.since = now
        self._seen_at = now
        return 0.0 if self.since is None else now - self.since
