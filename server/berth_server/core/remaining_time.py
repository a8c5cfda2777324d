"""Remaining time of a running attempt: by its progress, its estimate and its time limit."""

from __future__ import annotations

from datetime import datetime

from berth_server.core.model import RunningView
from berth_server.core.settings import PolicySettings

ENDING_S = 60.0
"""Time left of an attempt that is being stopped or has outlived its limit."""


def remaining_s(run: RunningView, now: datetime, settings: PolicySettings) -> tuple[float, float]:
    """Return how long an attempt still runs, seconds: as expected by the settings, and at most."""
    return remaining_at_s(run, now, settings, settings.shadow_quantile)


def remaining_at_s(
    run: RunningView, now: datetime, settings: PolicySettings, quantile: float | None
) -> tuple[float, float]:
    """The same with what is expected at another quantile; None takes the time limit."""
    if run.stopping:
        return ENDING_S, ENDING_S
    elapsed_s = 0.0
    if run.started_at is not None:
        elapsed_s = max(0.0, (now - run.started_at).total_seconds())
    if run.time_limit is not None:
        latest_s = max(ENDING_S, run.time_limit.total_seconds() - elapsed_s)
    else:
        assumed_s = settings.assumed_length.total_seconds()
        latest_s = max(assumed_s - elapsed_s, elapsed_s / 2)
    if quantile is None:
        return latest_s, latest_s
    if run.remaining is not None:
        left_s = run.remaining.quantile_s(quantile, now)
        return min(latest_s, max(ENDING_S, left_s)), latest_s
    if run.estimate is None:
        return latest_s, latest_s
    length_s = run.estimate.quantile_s(quantile, elapsed_s=elapsed_s)
    return min(latest_s, max(ENDING_S, length_s - elapsed_s)), latest_s
