"""Time that a run's own progress leaves, as the scheduler uses it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.server.core.scenes import NOW, running

from berth_server.core.estimate import Estimate
from berth_server.core.progress.remaining import Remaining
from berth_server.core.remaining_time import remaining_s
from berth_server.core.settings import PolicySettings

HOUR = 3600.0
LEFT = Remaining(p50_s=2 * HOUR, p90_s=3 * HOUR, source="log", at=NOW)


def test_quantiles_pass_through_the_two_that_are_given_and_count_down() -> None:
    """A remaining time shrinks as time passes, never below zero."""
    assert LEFT.quantile_s(0.5, NOW) == pytest.approx(2 * HOUR)
    assert LEFT.quantile_s(0.9, NOW) == pytest.approx(3 * HOUR)
    assert LEFT.quantile_s(0.1, NOW) < 2 * HOUR
    assert LEFT.quantile_s(0.9, NOW + timedelta(hours=1)) == pytest.approx(2 * HOUR)
    assert LEFT.quantile_s(0.5, NOW + timedelta(hours=9)) == 0.0


def test_own_progress_counts_before_history_and_the_time_limit_before_both() -> None:
    """A run that tells how far it is is believed, up to the moment at which it is stopped."""
    run = replace(running(1, range(8), 24.0), estimate=Estimate((20 * HOUR,)))
    shown = replace(run, remaining=LEFT)
    settings = PolicySettings()
    expected_s, latest_s = remaining_s(shown, NOW, settings)
    assert 2 * HOUR <= expected_s <= 3 * HOUR
    assert latest_s == pytest.approx(24 * HOUR)
    assert remaining_s(run, NOW, settings)[0] == pytest.approx(20 * HOUR)
    short = replace(shown, time_limit=timedelta(hours=1))
    assert remaining_s(short, NOW, settings) == (pytest.approx(HOUR), pytest.approx(HOUR))
