"""Order of whole-box jobs: the jobs that go before one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from scenes import NOW, box, job, running

from berth.protocol.message import Message
from berth_server.core.explain.score_breakdown import score_breakdown
from berth_server.core.model import Snapshot, Unavailable
from berth_server.core.policy import plan
from berth_server.core.whole_box_order import Block, blocks_before

HOUR = 3600.0
CLEAR = [0.0] * 8


def small(hours: float, gpus: int = 1) -> Block:
    return Block(weight=1.0, length_s=hours * HOUR, gpus=gpus)


def gang(hours: float, weight: float = 1.0) -> Block:
    return Block(weight=weight, length_s=hours * HOUR, gpus=8)


def test_many_short_jobs_go_before_a_long_gang_though_one_of_them_would_not() -> None:
    """Sixteen jobs of 1 h keep the box for 2 h in all: 8 an hour, against 1 an hour for one."""
    before = gang(20, weight=100.0)  # 5 an hour
    assert blocks_before(before, [small(1)] * 16, CLEAR) == 16
    assert blocks_before(before, [small(1)], CLEAR) == 0


def test_what_ends_while_the_box_clears_anyway_goes_first() -> None:
    """It costs the gang nothing, however much the gang counts."""
    one_busy = [0.0] * 7 + [3 * HOUR]
    jobs = [small(2), small(3), small(4)]
    assert blocks_before(gang(1, weight=1e9), jobs, one_busy) == 2


def test_a_short_job_behind_a_long_one_does_not_go_first_alone() -> None:
    """The order among the others is kept: the block up to the short job counts as a whole."""
    jobs = [small(30), small(30.001)]
    assert blocks_before(gang(24, weight=1.0), jobs, CLEAR) == 2
    assert blocks_before(gang(24, weight=2.0), jobs, CLEAR) == 0


def test_a_gang_whose_gpus_are_not_in_sight_delays_no_job() -> None:
    """With an outsider on a GPU all others go before it."""
    jobs = [small(30, gpus=4)] * 3
    assert blocks_before(gang(1, weight=1e9), jobs, [*CLEAR[:7], inf]) == 3


turns = st.builds(
    Block,
    weight=st.floats(0.01, 100.0),
    length_s=st.floats(60.0, 2e5),
    gpus=st.integers(0, 7),
)


@given(
    st.lists(turns, max_size=30),
    st.floats(60.0, 2e5),
    st.floats(0.01, 100.0),
    st.floats(1.0, 100.0),
    st.lists(st.floats(0.0, 1e5), min_size=8, max_size=8),
)
def test_a_gang_that_counts_more_never_comes_later(
    others: list[Block], length_s: float, weight: float, factor: float, free_s: list[float]
) -> None:
    """A heavier gang of the same length has as many or fewer jobs before it."""
    light = Block(weight=weight, length_s=length_s, gpus=8)
    heavy = Block(weight=weight * factor, length_s=length_s, gpus=8)
    assert blocks_before(heavy, others, free_s) <= blocks_before(light, others, free_s)


def test_a_plan_clears_the_box_by_this_rule_and_says_so() -> None:
    """After a gang the short jobs that piled up run first; a lone long one waits for the gang."""
    wants_box = job(1, 8, time_limit=timedelta(hours=40))
    piled = tuple(job(10 + i, 1, time_limit=timedelta(hours=1)) for i in range(16))
    assert set(plan(Snapshot(now=NOW, gpus=box(), queue=(wants_box, *piled))).started) == {
        10 + i for i in range(8)
    }
    long = job(2, 1, time_limit=timedelta(hours=40))
    assert set(plan(Snapshot(now=NOW, gpus=box(), queue=(wants_box, long))).started) == {1}

    held = running(100, range(8), hours=5)
    snapshot = Snapshot(now=NOW, gpus=box(held), running=(held,), queue=(wants_box, long, piled[0]))
    made = plan(snapshot)
    assert made.order == (10, 1, 2)
    _, before_long = score_breakdown(snapshot, made, 2)
    _, before_gang = score_breakdown(snapshot, made, 1)
    assert before_long is not None
    assert before_gang is not None
    assert "the whole box" in before_long.sentence
    assert "the whole box" in before_gang.sentence


def test_the_rarer_gangs_of_the_whole_box_are_the_more_each_counts() -> None:
    """If every other run needs the box, a short job goes before a whole-box job; not if few do."""
    queue = (job(1, 8, time_limit=timedelta(hours=10)), job(2, 1, time_limit=timedelta(hours=1)))
    often = Snapshot(now=NOW, gpus=box(), queue=queue, sizes={1: 500, 8: 500})
    rarely = Snapshot(now=NOW, gpus=box(), queue=queue, sizes={1: 980, 8: 20})
    assert plan(often).order == (2, 1)
    assert plan(rarely).order == (1, 2)


def test_a_job_gains_points_with_its_age_whatever_its_size() -> None:
    """It goes before a shorter one that has waited less, so that not all pass the cap together."""
    held = running(100, range(8), hours=40)
    for gpus in (1, 4, 8):
        near = job(1, gpus, queued_at=NOW - timedelta(days=24), time_limit=timedelta(hours=40))
        short = job(2, gpus, queued_at=NOW - timedelta(days=6), time_limit=timedelta(hours=4))
        snapshot = Snapshot(now=NOW, gpus=box(held), running=(held,), queue=(near, short))
        assert plan(snapshot).order == (1, 2)
        both = replace(snapshot, queue=(near, replace(short, queued_at=near.queued_at)))
        assert plan(both).order == (2, 1)


def test_a_job_that_needs_every_usable_gpu_needs_the_whole_box() -> None:
    """With a GPU out of order the box is cleared for seven GPUs, and for eight nothing is."""
    broken = tuple(
        replace(one, unavailable=Unavailable(kind="unhealthy", message=Message.of("Xid 79")))
        if one.index == 7
        else one
        for one in box()
    )
    seven = job(1, 7, time_limit=timedelta(hours=1))
    eight = job(2, 8, time_limit=timedelta(hours=1))
    long = job(3, 1, time_limit=timedelta(hours=40))
    snapshot = Snapshot(now=NOW, gpus=broken, queue=(eight, long, seven), sizes={1: 980, 7: 20})
    made = plan(snapshot)
    assert made.order == (1, 3, 2)
    _, compared = score_breakdown(snapshot, plan(replace(snapshot, queue=(eight, long))), 2, 3)
    assert compared is None or "7 GPUs can be had" in compared.sentence
