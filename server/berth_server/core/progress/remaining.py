"""Remaining time of a running attempt, as its own progress tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist

_Z90 = NormalDist().inv_cdf(0.9)


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """
    Remaining time of an attempt, counted from `at`: log-normal, given by two quantiles.

    Only made while its steps keep coming; without one, history has to tell.
    """

    p50_s: float
    """Half of such attempts are done by then, seconds; at least 0."""
    p90_s: float
    """Nine of ten are; never below `p50_s`."""
    source: str
    """Source: `jobside`, `metrics.jsonl` or `log`."""
    at: datetime
    """Time at which it was true."""
    step: float | None = None
    """Amount done, as it was read."""
    total: float | None = None
    """Amount to do."""

    def quantile_s(self, q: float, now: datetime) -> float:
        """Seconds from `now` by which a share `q` (0 < q < 1) of such attempts have ended."""
        left_s = self.p50_s
        if 0.0 < self.p50_s < self.p90_s:
            left_s *= (self.p90_s / self.p50_s) ** (NormalDist().inv_cdf(q) / _Z90)
        return max(0.0, left_s - (now - self.at).total_seconds())
