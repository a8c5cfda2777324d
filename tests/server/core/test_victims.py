"""Preemption victims: whole GPUs and shares, the least work lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from berth.protocol.states import JobState
from berth_server.core.model import GpuView, JobView, LeaseView, ReservationView, RunningView
from berth_server.core.model import Snapshot as Seen
from berth_server.core.policy import plan
from berth_server.core.settings import PolicySettings

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
GIB = 1 << 30
CARD = 80


def run(number: int, cards: str, hours: float, gib: int | None = None, **more) -> RunningView:
    """A preemptible attempt on GPUs like "01" that has lost so much when it is stopped."""
    fields = {"preemptible": True, "time_limit": timedelta(hours=100), **more}
    return RunningView(
        job_id=number,
        attempt=f"{number}.1",
        user="bob",
        name="",
        gpu_uuids=tuple(f"GPU-{i}" for i in cards),
        started_at=NOW - timedelta(hours=hours),
        memory_bytes=None if gib is None else gib * GIB,
        part=1.0 if gib is None else gib / CARD,
        **fields,
    )


def box(cards: int, *runs: RunningView, wish: JobView) -> Seen:
    """So many GPUs with these attempts on them, and one job that wants some."""

    def lease(one: RunningView) -> LeaseView:
        return LeaseView(
            job_id=one.job_id, attempt=one.attempt, user="bob", memory_bytes=one.memory_bytes
        )

    def card(i: int) -> GpuView:
        mine = [one for one in runs if f"GPU-{i}" in one.gpu_uuids]
        return GpuView(
            uuid=f"GPU-{i}",
            index=i,
            memory_total_bytes=CARD * GIB,
            lease=next((lease(one) for one in mine if one.memory_bytes is None), None),
            shares=tuple(lease(one) for one in mine if one.memory_bytes is not None),
        )

    return Seen(now=NOW, gpus=tuple(map(card, range(cards))), queue=(wish,), running=runs)


def wants(gpus: int = 1, gib: int | None = None) -> JobView:
    return JobView(
        id=100,
        name="urgent",
        user="ada",
        state=JobState.QUEUED,
        gpus=gpus,
        queued_at=NOW,
        priority=5,
        time_limit=timedelta(hours=1),
        share=gib is not None,
        gpu_memory_bytes=None if gib is None else gib * GIB,
    )


def stopped(seen: Seen, settings: PolicySettings | None = None) -> list[int]:
    return sorted(one.job_id for one in plan(seen, settings).preemptions)


@pytest.mark.parametrize(
    ("cards", "runs", "wish", "victims"),
    [
        # A gang gets a GPU in shares when all of them can go.
        (1, [run(1, "0", 1, 20), run(2, "0", 2, 30)], wants(), [1, 2]),
        # One that may not be stopped keeps the GPU: no job is stopped in vain.
        (1, [run(1, "0", 1, 20), run(2, "0", 2, 30, preemptible=False)], wants(), []),
        (1, [run(1, "0", 1, 20), run(2, "0", 2, 30, priority=5)], wants(), []),
        # Work lost counts a share as its part: 3 h of a quarter are less than 1 h of a GPU.
        (2, [run(1, "0", 3, 20), run(2, "1", 1)], wants(), [1]),
        (2, [run(1, "0", 5, 20), run(2, "1", 1)], wants(), [2]),
        # Both shares together lose more than the whole GPU's job.
        (2, [run(1, "0", 2, 40), run(2, "0", 2, 40), run(3, "1", 1)], wants(), [3]),
        # A gang over GPUs of both kinds takes what is cheapest in all.
        (3, [run(1, "0", 4, 20), run(2, "1", 2), run(3, "2", 9)], wants(2), [1, 2]),
        # A share takes as many shares of one GPU as it needs, not the GPU.
        (1, [run(1, "0", 1, 20), run(2, "0", 2, 20), run(3, "0", 9, 40)], wants(gib=30), [1, 2]),
        (1, [run(1, "0", 1, 20), run(2, "0", 2, 20), run(3, "0", 9, 40)], wants(gib=20), [1]),
        # The room that is there counts.
        (1, [run(1, "0", 1, 30), run(2, "0", 1, 30)], wants(gib=50), [2]),
        # A share may have a whole GPU's job stopped when that loses least.
        (2, [run(1, "0", 9, 80), run(2, "1", 1)], wants(gib=20), [2]),
        (1, [run(1, "0", 1, 40, preemptible=False), run(2, "0", 1, 40)], wants(gib=50), []),
    ],
)
def test_the_least_work_is_lost(cards, runs, wish, victims):
    """Over all sets that let the job start."""
    assert stopped(box(cards, *runs, wish=wish)) == victims


def test_no_further_job_is_stopped_while_victims_leave(monkeypatch):
    """GPUs and rooms that are being cleared count as the job's, however short the patience."""
    monkeypatch.setattr("berth_server.core.policy.PREEMPT_PATIENCE", timedelta(0))
    leaving = replace(run(1, "0", 1), stopping=True)
    assert stopped(box(2, leaving, run(2, "1", 1), wish=wants())) == []
    leaving = replace(run(1, "0", 1, 40), stopping=True)
    seen = box(2, leaving, run(2, "0", 1, 40), run(3, "1", 1), wish=wants(gib=30))
    assert stopped(seen) == []
    # If none were leaving, one would have to.
    seen = box(2, run(1, "0", 1, 40), run(2, "0", 1, 40), run(3, "1", 1), wish=wants(gib=30))
    assert stopped(seen) != []


def test_a_job_past_the_age_cap_is_not_stopped():
    """It would be the first to start again, and be stopped again, for ever."""
    long_ago = NOW - PolicySettings().age_cap
    aged = run(1, "0", 1, eligible_at=long_ago - timedelta(hours=1))
    assert stopped(box(1, aged, wish=wants())) == []
    assert stopped(box(1, replace(aged, eligible_at=long_ago), wish=wants())) == [1]
    # Below zero there is no cap.
    assert stopped(box(1, replace(aged, priority=-1), wish=wants())) == [1]


def test_many_shares_are_chosen_one_by_one():
    """More than can be tried in all sets: enough are stopped, and none without need."""
    runs = [run(number, "0", number, 5) for number in range(1, 17)]
    assert stopped(box(1, *runs, wish=wants(gib=20))) == [1, 2, 3, 4]


def test_a_gpu_that_is_set_aside_for_others_is_not_cleared():
    """It would not be the job's when it comes free."""
    kept = ReservationView(
        id=1,
        gpu_uuids=("GPU-0",),
        starts_at=NOW,
        ends_at=NOW + timedelta(days=9),
        users=frozenset({"eve"}),
    )
    seen = box(2, run(1, "0", 1, 20), run(2, "1", 9, 20), wish=wants())
    assert stopped(replace(seen, reservations=(kept,))) == [2]


def test_what_leaves_is_kept_for_the_share_that_it_was_stopped_for():
    """Until then no other share takes the memory that it will need on the same GPU."""
    runs = (run(1, "0", 1, 30), run(2, "0", 1, 30, preemptible=False))
    seen = box(1, *runs, wish=wants(gib=50))
    late = replace(wants(gib=20), id=101, user="eve", priority=0, time_limit=timedelta(hours=2))
    made = plan(replace(seen, queue=(*seen.queue, late)))
    assert [one.job_id for one in made.preemptions] == [1]
    assert made.starts == ()
    (claim,) = made.claims
    assert claim.at - NOW == timedelta(minutes=1)
