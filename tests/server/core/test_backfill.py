"""Backfill: the first waiting job gets its GPUs by the promised time, with any backfill behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.server.core.virtual_box import GIB, START, USERS, VirtualBox

from berth.protocol.states import JobState
from berth_server.core.estimate import Estimate
from berth_server.core.explain.explanation import explain
from berth_server.core.model import AblationView, JobView
from berth_server.core.settings import Limits, PolicySettings

POLICIES = (
    PolicySettings(age_cap=timedelta(days=300)),
    PolicySettings(age_cap=timedelta(hours=12)),
    PolicySettings(
        age_cap=timedelta(days=300),
        user_limits=Limits(running_gpus=6, running_jobs=3),
        group_limits=Limits(running_gpus=7),
    ),
    PolicySettings(
        age_cap=timedelta(days=300),
        shadow_quantile=None,
        backfill_quantile=None,
    ),
)


@st.composite
def jobs(draw) -> tuple[JobView, timedelta, timedelta]:
    """A job with a time limit, how long after the one before it comes, and how long it works."""
    limit_s = 3600.0 * draw(st.sampled_from([1, 2, 3, 5, 8, 13]))
    share = draw(st.sampled_from([None, None, None, 20, 40]))
    guessed = draw(st.sampled_from([None, 0.2, 0.6, 1.0]))
    ablation = draw(st.sampled_from([None, None, None, "narrow"]))
    user = draw(st.sampled_from(sorted(USERS)))
    job = JobView(
        id=0,
        name="",
        user=user,
        group=USERS[user],
        state=JobState.QUEUED,
        gpus=1 if share else draw(st.sampled_from([1, 1, 1, 2, 3, 4, 6, 8])),
        share=share is not None,
        gpu_memory_bytes=None if share is None else share * GIB,
        queued_at=START,
        time_limit=timedelta(seconds=limit_s),
        estimate=None if guessed is None else Estimate((guessed * limit_s,)),
        ablation=ablation,
    )
    after = timedelta(minutes=draw(st.sampled_from([0, 0, 0, 20, 90])))
    works = timedelta(seconds=limit_s * draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])))
    return job, after, works


@settings(max_examples=150, deadline=None)
@given(st.lists(jobs(), min_size=6, max_size=24), st.sampled_from(range(len(POLICIES))))
def test_the_first_in_line_is_never_put_off_by_who_slips_in_behind_it(work, policy):
    """
    Every job keeps its time limit, so each that claims GPUs starts by the `latest` that it was
    first forecast (`Promises` says what ends that), and every job runs.
    """
    box = VirtualBox()
    box.policy = POLICIES[policy]
    box.caps = {"narrow": AblationView(max_running=2)}
    for number, (job, after, works) in enumerate(work, 1):
        if after:
            box.pass_time(after)
        gpus = min(job.gpus, box.policy.user_limits.running_gpus or 8)
        mine = replace(job, id=number, gpus=gpus, queued_at=box.now)
        box.submit(mine, works=works, needs=())
        box.decide()
    for _ in work:
        box.pass_time(timedelta(hours=14))
    assert box.final.keys() == box.submitted.keys()
    event("promises kept", min(box.promises.met, 3))


def simple(number: int, gpus: int, hours: int, **more) -> JobView:
    fields = {"user": "ada", "queued_at": START, "time_limit": timedelta(hours=hours), **more}
    return JobView(id=number, name="", state=JobState.QUEUED, gpus=gpus, **fields)


def test_a_claim_holds_its_place_within_the_limits():
    """
    A later job of the same user would take the place that the waiting gang needs: it waits, and
    is named; a job of another user is backfilled.
    """
    box = VirtualBox()
    box.policy = PolicySettings(limits_by_user={"ada": Limits(running_jobs=2)})
    jobs = [
        simple(1, 1, 9),
        simple(2, 8, 9, priority=1),
        simple(3, 1, 1),
        simple(4, 1, 1, user="eve"),
    ]
    box.submit(jobs[0], works=timedelta(hours=9), needs=())
    box.decide()
    for job in jobs[1:]:
        box.submit(job, works=timedelta(hours=1), needs=())
    snapshot = box.snapshot()
    made = box.decide()
    assert list(made.started) == [4]
    shown = explain(snapshot, made, 3).reasons[0].sentence
    assert shown == (
        "ada has 2 jobs running and may have 2, counting job 2, which is to start before it."
    )


def test_jobs_past_the_age_cap_are_dated_one_after_the_other():
    """The second knows that the first gets its GPUs before it, however many are open now."""
    box = VirtualBox()
    box.policy = PolicySettings(age_cap=timedelta(hours=1))
    box.submit(simple(1, 1, 3), works=timedelta(hours=3), needs=())
    box.decide()
    old = START - timedelta(hours=2)
    box.submit(simple(2, 8, 5, queued_at=old), works=timedelta(hours=5), needs=())
    box.submit(simple(3, 4, 1, queued_at=old), works=timedelta(hours=1), needs=())
    first, second = box.decide().claims
    assert (first.job_id, first.latest) == (2, START + timedelta(hours=3))
    assert (second.job_id, second.latest) == (3, START + timedelta(hours=8))
