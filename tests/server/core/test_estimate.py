"""Estimates of a job's length from earlier runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_server.core.estimate import SAMPLES, Estimate, RunKey, RunTimes

HOUR = 3600.0


def key(user: str = "ada", gpus: int = 1, limit_h: float | None = None, script: str = "a.py"):
    limit_s = None if limit_h is None else limit_h * HOUR
    return RunKey(user=user, script=script, gpus=gpus, limit_s=limit_s)


def shown(history: RunTimes, of: RunKey) -> Estimate:
    estimate = history.estimate(of)
    assert estimate is not None
    return estimate


def test_nothing_is_reported_of_a_size_that_never_ran() -> None:
    """A run on one GPU says nothing of a gang."""
    history = RunTimes()
    history.record(key(gpus=1), HOUR)
    assert history.estimate(key(gpus=8)) is None


def test_the_more_runs_of_the_very_kind_the_less_others_count() -> None:
    """Few runs lean on what wider kinds say; many speak for themselves."""
    history = RunTimes()
    for _ in range(50):
        history.record(key("bob", script="b.py"), HOUR)
    means = [shown(history, key()).mean_s]
    for _ in range(30):
        history.record(key(), 10 * HOUR)
        means.append(shown(history, key()).mean_s)
    assert means[0] == pytest.approx(HOUR)
    assert means[1] < 5 * HOUR
    assert means[30] > 9.5 * HOUR
    assert means == sorted(means)


def test_runs_longer_than_the_limit_are_left_out() -> None:
    """A job with a limit of 1 h is not taken for one of the day-long runs, cut off."""
    history = RunTimes()
    for _ in range(20):
        history.record(key(limit_h=48), 40 * HOUR)
        history.record(key(limit_h=48), 0.25 * HOUR)
    assert shown(history, key(limit_h=1)).mean_s == pytest.approx(0.25 * HOUR, rel=0.2)


def test_a_limit_alone_is_taken_to_be_used_to_any_part() -> None:
    """Without a run that fits under it, the wide kinds say nothing and neither does an estimate."""
    history = RunTimes()
    history.record(key(), 10 * HOUR)
    assert history.estimate(key(limit_h=1)) is None
    history.record(key("bob"), 0.5 * HOUR)
    assert 0.3 * HOUR < shown(history, key(limit_h=1)).mean_s < 0.6 * HOUR


def test_the_source_names_the_most_telling_kind_that_has_runs_enough() -> None:
    """People read whose runs an estimate rests on."""
    history = RunTimes()
    history.record(key("bob", script="b.py"), HOUR)
    assert shown(history, key()).source == "1 earlier run on 1 GPU by anybody"
    for _ in range(4):
        history.record(key(), HOUR)
    assert shown(history, key()).source == "4 earlier runs of a.py on 1 GPU by ada"


def test_sizes_are_counted_over_the_latest_runs() -> None:
    """Old runs do not count for the rarity of a size."""
    history = RunTimes(remembered=3)
    for gpus in (8, 8, 1, 1, 2):
        history.record(key(gpus=gpus), HOUR)
    assert +history.sizes == {1: 2, 2: 1}


@given(
    st.lists(st.floats(1.0, 2e5), min_size=1, max_size=80),
    st.lists(st.floats(1.0, 2e5), max_size=80),
)
def test_an_estimate_keeps_the_mean_of_what_it_sums_up(
    theirs: list[float], own: list[float]
) -> None:
    """Thinned to a few lengths, ascending, it has the mean of all that counted."""
    history = RunTimes(window=100)
    for length_s in theirs:
        history.record(key("bob", script="b.py"), length_s)
    for length_s in own:
        history.record(key(), length_s)
    estimate = shown(history, key())
    mean_s = sum(theirs + own) / len(theirs + own)
    for _ in range(2 if own else 0):  # the user's kind, then the script's
        mean_s = (sum(own) + history.trust * mean_s) / (len(own) + history.trust)
    assert len(estimate.samples_s) == SAMPLES
    assert list(estimate.samples_s) == sorted(estimate.samples_s)
    assert estimate.mean_s == pytest.approx(mean_s)


def test_a_run_that_outlives_all_others_goes_on_for_half_of_what_it_has_run() -> None:
    """Run times have heavy tails."""
    estimate = Estimate((HOUR, 2 * HOUR))
    assert estimate.quantile_s(0.5) == 2 * HOUR
    assert estimate.quantile_s(0.5, elapsed_s=1.5 * HOUR) == 2 * HOUR
    assert estimate.quantile_s(0.5, elapsed_s=4 * HOUR) == 6 * HOUR
