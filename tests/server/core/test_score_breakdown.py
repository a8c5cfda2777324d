"""Why one job is before another: the order's own numbers, part by part."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from math import log
from operator import add

import pytest
from hypothesis import given
from scenes import NOW, box, job, running, snapshots

from berth_server.core.availability import AvailabilityProfile
from berth_server.core.estimate import Estimate
from berth_server.core.explain.score_breakdown import score_breakdown
from berth_server.core.forecast import plan_with_forecast as plan
from berth_server.core.model import Snapshot, Usage
from berth_server.core.order import AGE_POINTS, FIT_POINTS, FIT_REACH, Scorer
from berth_server.core.settings import PolicySettings

HELD = running(100, range(8), hours=5)


def _line(*jobs, **changes) -> Snapshot:
    return Snapshot(now=NOW, gpus=box(HELD), running=(HELD,), queue=jobs, **changes)


@given(snapshots())
def test_the_parts_add_up_to_the_points_that_order_the_queue(snapshot: Snapshot) -> None:
    """Whoever reads the parts reads what decides: their sum is the number the queue is sorted by."""
    usage = {"ada": Usage(decayed_gpu_s=7e4), "bob": Usage(decayed_gpu_s=2e4)}
    scorer = Scorer(AvailabilityProfile(replace(snapshot, user_usage=usage), PolicySettings()))
    for view, points in zip(snapshot.queue, scorer.scores(snapshot.queue), strict=True):
        assert reduce(add, scorer.terms(view).values(), 0.0) == points


def test_the_score_is_the_formula_of_the_documentation():
    """One term after the other, written out for one job of two GPUs on a full box."""
    waiting = job(1, 2, estimate=Estimate((7200.0,)), queued_at=NOW - timedelta(hours=80))
    knobs = PolicySettings(fair_share_weight=0)
    scorer = Scorer(AvailabilityProfile(_line(waiting), knobs))
    free_s = scorer.free_s[2]
    near = FIT_REACH * 7200.0
    age = 80 / 720
    assert scorer.terms(waiting) == {
        "length": -log(7200.0),
        "fit": FIT_POINTS * log(2) * (near / (near + free_s)),
        "age": pytest.approx(AGE_POINTS * (3 * age**2 - 2 * age**3)),
        "fair_share": 0.0,
    }
    assert scorer.scores([waiting]) == [pytest.approx(sum(scorer.terms(waiting).values()))]


@given(snapshots())
def test_every_pair_in_line_is_reported_in_the_order_of_the_plan(snapshot: Snapshot) -> None:
    """The job that is named as first is the one that the plan has first, whatever decides."""
    made = plan(snapshot)
    line = list(made.positions)
    for first, second in pairwise(line):
        own, compared = score_breakdown(snapshot, made, second)
        assert own is not None
        assert compared is not None
        assert compared.standing.job_id == first
        assert compared.sentence.startswith(f"Job {first} of ")
        _, turned = score_breakdown(snapshot, made, first, against=second)
        assert turned is not None
        assert not turned.ahead
        assert turned.sentence == compared.sentence


def test_the_part_that_tips_the_scale_is_named() -> None:
    """Another user's short job goes before a long one, and the sentence says so."""
    short = job(2, 1, user="bob", time_limit=timedelta(hours=1))
    long = job(1, 1, time_limit=timedelta(hours=40))
    snapshot = _line(long, short)
    own, compared = score_breakdown(snapshot, plan(snapshot), 1)
    assert own is not None
    assert compared is not None
    assert compared.ahead
    assert compared.sentence == (
        "Job 2 of bob is before job 1: its score is 3.69 higher, mostly for its expected "
        "length (+3.69)."
    )
    length = next(part for part in own.parts if part.kind == "length")
    assert "Estimated 20h: 50 % of its time limit" in length.sentence


def test_priority_and_the_age_cap_are_named_before_points() -> None:
    """If points do not decide, the sentence does not mention them."""
    plain, urgent = job(1, 1), job(2, 1, priority=5)
    old = job(3, 1, queued_at=NOW - timedelta(days=40))
    snapshot = _line(plain, urgent, old)
    made = plan(snapshot)
    _, beside_urgent = score_breakdown(snapshot, made, 1)
    _, beside_old = score_breakdown(snapshot, made, 2)
    assert beside_urgent is not None
    assert beside_old is not None
    assert beside_urgent.sentence == "Job 2 of ada is before job 1: its priority is 5, not 0."
    assert beside_old.sentence == ("Job 3 of ada is before job 2: it has waited past the age cap.")


def test_a_difference_too_small_to_show_is_none() -> None:
    """Two jobs alike but for a second of waiting are distinguished by that, not by 0.00 points."""
    earlier, later = (job(i, 1, queued_at=NOW - timedelta(seconds=9 - i)) for i in (1, 2))
    snapshot = _line(earlier, later)
    _, beside = score_breakdown(snapshot, plan(snapshot), 2)
    assert beside is not None
    assert beside.sentence == (
        "Job 1 of ada is before job 2: their scores are equal, and it has waited longer."
    )


def test_only_jobs_in_line_have_a_standing() -> None:
    """A job that starts now has no place in line, and none is made up."""
    starting = job(1, 1)
    snapshot = Snapshot(now=NOW, gpus=box(), queue=(starting,))
    assert score_breakdown(snapshot, plan(snapshot), 1) == (None, None)
