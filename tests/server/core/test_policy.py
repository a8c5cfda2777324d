"""Promises of the policy for any queue and any box, tried on random ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import NOW, box, gpu, job, running, snapshots

from berth.protocol.states import JobState
from berth_server.core.explain.explanation import explain, without_later
from berth_server.core.forecast import plan_with_forecast as plan
from berth_server.core.model import ReservationView, RunningView, Snapshot
from berth_server.core.placement import choose
from berth_server.core.settings import Limits, PolicySettings


@settings(max_examples=250, deadline=None)
@given(snapshots())
def test_no_plan_breaks_a_promise(snapshot):
    """
    No GPU twice, none that is held or unavailable, gangs whole, no job held, early, or before
    his dependencies; the same snapshot gives the same plan.
    """
    made = plan(snapshot)
    assert made == plan(snapshot)
    given_away = [uuid for start in made.starts for uuid in start.gpu_uuids]
    assert len(given_away) == len(set(given_away))
    by_uuid = {view.uuid: view for view in snapshot.gpus}
    for uuid in given_away:
        assert by_uuid[uuid].lease is None
        assert by_uuid[uuid].unavailable is None
    for start in made.starts:
        wanted = snapshot.pending[start.job_id]
        assert len(start.gpu_uuids) == wanted.gpus
        assert wanted.state is not JobState.HELD
        assert wanted.not_before is None
        assert all(d.state is JobState.SUCCEEDED for d in wanted.dependencies)


@settings(max_examples=150, deadline=None)
@given(snapshots())
def test_why_a_job_waits_does_not_depend_on_who_is_behind_it(snapshot):
    """Lists explain each job with those ahead alone: the sentence is the same."""
    made = plan(snapshot)
    for job_id in made.positions:
        shown = explain(*without_later(snapshot, made, job_id), job_id)
        assert shown.summary == explain(snapshot, made, job_id).summary


@settings(max_examples=150, deadline=None)
@given(snapshots())
def test_explain_never_contradicts_the_plan(snapshot):
    """A pending job has a blocking reason exactly when the plan does not start it."""
    made = plan(snapshot)
    for wanted in snapshot.queue:
        shown = explain(snapshot, made, wanted.id)
        blocked = any(reason.blocking for reason in shown.reasons)
        assert blocked == (wanted.id not in made.started)
        assert shown.summary
        if wanted.id in made.positions:
            assert shown.position == made.positions[wanted.id]


@settings(max_examples=150, deadline=None)
@given(snapshots())
def test_victims_allowed_it_and_are_of_lower_priority(snapshot):
    """Only attempts that declared themselves preemptible are stopped, for a job of higher priority."""
    runs = {run.job_id: run for run in snapshot.running}
    for preemption in plan(snapshot).preemptions:
        victim = runs[preemption.job_id]
        assert victim.preemptible
        assert victim.priority < snapshot.pending[preemption.for_job_id].priority


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 1, 2, 4, 8]), st.integers(1, 30), st.integers(0, 40)),
        min_size=1,
        max_size=25,
    )
)
def test_every_job_gets_its_turn_and_the_first_gang_is_never_put_off(work):
    """
    In virtual time, with jobs that end by their limits: every job runs, and the start promised
    to the job that claims GPUs never moves later by what starts behind it in the order.
    """
    arrivals = [
        job(
            number,
            gpus,
            time_limit=timedelta(hours=hours),
            queued_at=NOW + timedelta(hours=after),
        )
        for number, (gpus, hours, after) in enumerate(work, 1)
    ]
    now, waiting, runs = NOW, [], []
    pending = sorted(arrivals, key=lambda one: (one.queued_at, one.id))
    promised: tuple[int, datetime] | None = None
    ran: set[int] = set()
    for _ in range(10 * len(work) + 10):
        while pending and pending[0].queued_at <= now:
            waiting.append(pending.pop(0))
        runs = [run for run in runs if run.started_at + run.time_limit > now]
        snapshot = Snapshot(now=now, gpus=box(*runs), queue=tuple(waiting), running=tuple(runs))
        made = plan(snapshot)
        for start in made.starts:
            wanted = snapshot.pending[start.job_id]
            assert wanted.id not in ran
            ran.add(wanted.id)
            waiting.remove(wanted)
            runs.append(
                RunningView(
                    job_id=wanted.id,
                    attempt=f"{wanted.id}.1",
                    user=wanted.user,
                    name=wanted.name,
                    gpu_uuids=start.gpu_uuids,
                    started_at=now,
                    time_limit=wanted.time_limit,
                )
            )
        latest = {claim.job_id: claim.latest for claim in made.claims}
        if promised is not None and promised[0] in latest:
            ahead = made.order[: made.order.index(promised[0])]
            if not set(ahead) & set(made.started):
                assert latest[promised[0]] <= promised[1]
        promised = next(((i, at) for i, at in latest.items() if at is not None), None)
        moments = [run.started_at + run.time_limit for run in runs]
        moments += [one.queued_at for one in pending[:1]]
        if not moments:
            break
        now = min(moments)
    assert ran == {one.id for one in arrivals}


def test_a_blocked_gang_keeps_its_claim():
    """
    An 8-GPU gang at the head waits an hour for four GPUs: a job that would run longer does not
    slip in before it, one that is gone by then does.
    """
    theirs = running(900, range(4), hours=1)
    gang = job(1, 8, time_limit=timedelta(hours=2), priority=1)
    long_one = job(2, 1, time_limit=timedelta(hours=24))
    short_one = job(3, 1, time_limit=timedelta(minutes=10))
    snapshot = Snapshot(
        now=NOW, gpus=box(theirs), queue=(gang, long_one, short_one), running=(theirs,)
    )
    made = plan(snapshot)
    assert set(made.started) == {3}
    assert made.expected[1].at <= NOW + timedelta(hours=1)
    assert "job 900" in explain(snapshot, made, 1).summary


def test_a_box_that_is_nearly_clear_is_kept_for_the_gang():
    """
    With one GPU of eight busy for ten more minutes, a long single does not go before the gang;
    with that GPU busy all day it does.
    """
    gang = job(1, 8, time_limit=timedelta(hours=24))
    single = job(2, 1, time_limit=timedelta(hours=10))
    for hours, first in ((1 / 6, 1), (24, 2)):
        theirs = running(900, range(1), hours=hours)
        made = plan(Snapshot(now=NOW, gpus=box(theirs), queue=(gang, single), running=(theirs,)))
        assert made.order[0] == first
        assert (2 in made.started) == (first == 2)


def test_priority_goes_first_and_the_aged_before_all():
    """Higher priority is served first, but for a job past the age cap."""
    first, second = job(1, 8), job(2, 8, priority=10)
    assert set(plan(Snapshot(now=NOW, gpus=box(), queue=(first, second))).started) == {2}
    old = replace(first, queued_at=NOW - timedelta(days=100))
    assert set(plan(Snapshot(now=NOW, gpus=box(), queue=(old, second))).started) == {1}


def test_where_all_jobs_have_waited_for_weeks_the_shorter_job_goes_first():
    """Age counts up to a bound: an overload does not turn the queue into first come, first served."""
    oldest = job(1, 1, queued_at=NOW - timedelta(days=28), time_limit=timedelta(hours=40))
    short = job(2, 1, queued_at=NOW - timedelta(days=20), time_limit=timedelta(hours=1))
    snapshot = Snapshot(now=NOW, gpus=box(), queue=(oldest, short))
    assert plan(snapshot).order == (2, 1)
    longer = replace(short, time_limit=timedelta(hours=4))
    assert plan(replace(snapshot, queue=(oldest, longer))).order == (1, 2)


def test_limits_pass_a_user_over_and_say_so():
    """A user at the limit of running GPUs waits, others go on, and the reason names the limit."""
    policy = PolicySettings(user_limits=Limits(running_gpus=2))
    queue = (job(1, 2), job(2, 1), job(3, 1, user="eve"))
    snapshot = Snapshot(now=NOW, gpus=box(), queue=queue)
    made = plan(snapshot, policy)
    assert 3 in made.started
    assert len({1, 2} & set(made.started)) == 1
    (passed,) = {1, 2} - set(made.started)
    kinds = {reason.kind for reason in explain(snapshot, made, passed).reasons if reason.blocking}
    assert "limit" in kinds


def test_nothing_starts_without_the_worker():
    """While the worker does not report, nothing starts, and each job's reason says so."""
    snapshot = Snapshot(now=NOW, gpus=box(), queue=(job(1, 1),), worker_ok=False)
    made = plan(snapshot)
    assert not made.starts
    assert "worker" in explain(snapshot, made, 1).summary.lower()


@pytest.mark.parametrize(("count", "expected"), [(4, (0, 1, 2, 3)), (2, (6, 7)), (1, (7,))])
def test_placement_takes_the_best_links_and_leaves_the_best_rest(count, expected):
    """Four GPUs come from one NUMA node; smaller gangs take from the node already broken."""
    free = [gpu(i) for i in (0, 1, 2, 3, 6, 7)]
    links = tuple(
        tuple("X" if a == b else "NV18" if a // 4 == b // 4 else "SYS" for b in range(8))
        for a in range(8)
    )
    chosen = choose(free, count, links)
    assert len(chosen) == count
    if count > 1:
        assert chosen == tuple(f"GPU-{i}" for i in expected)


def test_wrong_knobs_are_refused():
    """A policy that would make the order meaningless is refused with the knob's name."""
    with pytest.raises(ValueError, match="age_cap"):
        PolicySettings(age_cap=timedelta(0))
    with pytest.raises(ValueError, match="backfill_quantile"):
        PolicySettings(backfill_quantile=2)
    with pytest.raises(ValueError, match="assumed_length"):
        PolicySettings(assumed_length=timedelta(0))


def test_who_is_on_the_gpus_is_reported_before_who_has_reserved_them_for_later():
    """A reservation comes first where it is what keeps idle GPUs from the job."""
    later = ReservationView(
        id=1,
        gpu_uuids=("GPU-4", "GPU-5"),
        starts_at=NOW + timedelta(hours=2),
        ends_at=NOW + timedelta(hours=9),
        users=frozenset({"eve"}),
    )
    wish = job(1, 4, time_limit=timedelta(hours=6))
    first = running(8, range(4), 3)

    def kinds(*busy):
        snapshot = Snapshot(
            now=NOW, gpus=box(first, *busy), queue=(wish,), running=(first, *busy),
            reservations=(later,),
        )  # fmt: skip
        shown = explain(snapshot, plan(snapshot, PolicySettings()), 1)
        return [reason.kind for reason in shown.reasons if reason.blocking]

    assert kinds(running(9, range(4, 8), 1)) == ["gpus_held", "gpus_held", "reservation"]
    assert kinds(running(9, range(6, 8), 1)) == ["reservation", "gpus_held", "gpus_held"]
