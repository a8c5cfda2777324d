"""Early-stop rules: pure, from curves to sentences."""

from __future__ import annotations

import math
from statistics import mean, median

from hypothesis import given
from hypothesis import strategies as st

from berth.protocol.ablations import EarlyStop
from berth_server.core.early_stopping import Curve, Stop, stops
from berth_server.core.explain.attempt_end import stopped_early

MEDIAN = EarlyStop(rule="median", metric="loss", after_step=2)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


def curve(*values: float | None, mode: str = "min") -> Curve:
    """Values at steps 1, 2, 3, …"""
    made = Curve(mode)
    for step, value in enumerate(values, 1):
        made.add(step, value)
    return made


def said(stop: Stop) -> str:
    """The reason as users read it."""
    return str(stopped_early(stop))


def test_the_median_rule_ends_the_run_that_is_worse_than_half():
    """Best so far against the median of the others' running averages; the message has both numbers."""
    curves = {1: curve(3, 1), 2: curve(3, 2), 3: curve(3, 2.5), 4: curve(5, 4)}
    found = stops(MEDIAN, curves, {1, 2, 3, 4})
    assert list(found) == [4]
    assert "its best loss by step 2 is 4, worse than 2.5" in said(found[4])
    assert said(found[4]).endswith("the median of the 3 other runs so far.")


def test_no_run_is_judged_before_the_step_or_against_too_few():
    """Nor a run that is ahead of the others."""
    good = {1: curve(3, 1), 2: curve(3, 2), 3: curve(3, 2)}
    assert not stops(MEDIAN, {**good, 4: curve(9)}, {4})
    assert not stops(MEDIAN, {1: good[1], 2: good[2], 4: curve(9, 9)}, {4})
    assert not stops(MEDIAN, {**good, 4: curve(9, 9, 9)}, {4})
    assert stops(MEDIAN, {**good, 4: curve(9, 9)}, {4})


def test_only_runs_that_may_be_ended_are():
    """Ended ones count as others."""
    curves = {1: curve(1, 1), 2: curve(1, 1), 3: curve(1, 1), 4: curve(5, 5)}
    assert not stops(MEDIAN, curves, {1, 2, 3})


def test_a_run_that_only_has_nan_is_the_worst():
    """And an average with NaN is no help to others."""
    good = {1: curve(3, 1), 2: curve(3, 2), 3: curve(3, 2)}
    found = stops(MEDIAN, {**good, 4: curve(None, None)}, {1, 2, 3, 4})
    assert list(found) == [4]
    assert "is no number" in said(found[4])


def test_more_is_better_where_the_rule_says_so():
    """Shown in the metric's own sign."""
    rule = EarlyStop(rule="median", metric="accuracy", mode="max")
    values = {1: 0.9, 2: 0.8, 3: 0.85, 4: 0.2}
    found = stops(rule, {i: curve(v, mode="max") for i, v in values.items()}, {1, 3, 4})
    assert list(found) == [4]
    assert "accuracy by step 1 is 0.2, worse than 0.85" in said(found[4])


def test_the_margin_rule_compares_with_the_best_of_the_others():
    """In the metric's own unit, at the same step; exactly the margin is fine."""
    rule = EarlyStop(rule="margin", metric="loss", margin=0.5)
    curves = {1: curve(2, 1, 0.1), 2: curve(2, 1.5), 3: curve(2, 1.6)}
    found = stops(rule, curves, {1, 2, 3})
    assert list(found) == [3]
    assert "is 1.6, more than 0.5 worse than 1 of job 1" in said(found[3])
    assert not stops(rule, {1: curve(9)}, {1})


def test_the_target_ends_all_others():
    """Those that have not started too; those that reached it go on."""
    rule = EarlyStop(rule="target", metric="loss", target=1.0)
    curves = {1: curve(2, 0.9, 3), 2: curve(2), 3: curve(1.0)}
    found = stops(rule, curves, {1, 2, 3, 4})
    assert list(found) == [2, 4]
    assert said(found[2]) == "Stopped early: job 1 has reached loss 0.9, the target being 1."
    assert not stops(rule, {2: curve(2)}, {2, 4})


def test_what_a_resumed_run_writes_again_takes_the_place_of_the_old():
    """From that step on."""
    made = curve(5, 1, 1)
    made.add(2, 3)
    assert (made.last_step, made.best(), made.average(2)) == (2, 3, 4)


@given(st.dictionaries(st.integers(1, 9), VALUES, min_size=1))
def test_the_median_rule_is_its_definition(runs):
    """As the paper words it, on any curves."""
    rule = EarlyStop(rule="median", metric="loss", least_runs=2)
    expected = set()
    for job_id, values in runs.items():
        step = len(values)
        as_far = [mean(o[:step]) for i, o in runs.items() if i != job_id and len(o) >= step]
        if len(as_far) >= 2:
            middle = median(as_far)
            if min(values) > middle and not math.isclose(min(values), middle, rel_tol=1e-9):
                expected.add(job_id)
    found = stops(rule, {i: curve(*values) for i, values in runs.items()}, set(runs))
    close = {
        job_id
        for job_id in set(found) ^ expected
        if not any(
            math.isclose(
                min(runs[job_id]), mean(o[: len(runs[job_id])]), rel_tol=1e-9, abs_tol=1e-6
            )
            for o in runs.values()
        )
    }
    assert not close
