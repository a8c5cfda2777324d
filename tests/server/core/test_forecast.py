"""Expected starts, held against what the planner does when time goes on."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.core.virtual_box import START, VirtualBox

from berth.protocol.states import JobState
from berth_server.core.estimate import Estimate
from berth_server.core.model import AblationView, JobView
from berth_server.core.settings import Limits, PolicySettings

HOUR = timedelta(hours=1)
LIMITED = PolicySettings(
    age_cap=timedelta(days=300),
    fair_share_weight=0.0,  # use changes the order as time goes on
    user_limits=Limits(running_jobs=3),
    limits_by_user={"eve": Limits(running_gpus=2)},
)
CAPS = {"one": AblationView(max_running=1), "two": AblationView(max_running=2)}


def single(number: int, hours: int, user: str, ablation: str | None = None) -> JobView:
    """A job of one GPU of a known length."""
    return JobView(
        id=number,
        name="",
        user=user,
        state=JobState.QUEUED,
        gpus=1,
        queued_at=START,
        time_limit=hours * HOUR,
        estimate=Estimate((hours * 3600.0,)),
        ablation=ablation,
    )


JOBS = st.tuples(
    st.integers(1, 9),
    st.sampled_from(["ada", "bob", "eve", "ian"]),
    st.sampled_from([None, "one", "two"]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(JOBS, min_size=1, max_size=25))
def test_jobs_of_one_gpu_start_when_it_was_said(work):
    """
    Under limits on running jobs and GPUs of users and ablations, when each runs as long as it was
    expected to and nothing else happens.
    """
    box = VirtualBox()
    box.policy = LIMITED
    box.caps = dict(CAPS)
    for number, facts in enumerate(work, 1):
        box.submit(single(number, *facts), works=facts[0] * HOUR, needs=())
    first = box.decide()
    said = {job_id: shown.at for job_id, shown in first.expected.items()}
    assert said.keys() == box.jobs.keys()
    started = {}
    while box.jobs:
        box.pass_time(HOUR)
        started |= {i: run.started_at for i, run in box.runs.items()}
    assert {i: started[i] for i in said} == said


def test_a_job_that_waits_for_a_limit_leaves_its_gpu_to_others_until_then():
    """Counted only while it runs: neither before its own start nor after its end."""
    box = VirtualBox()
    box.caps = dict(CAPS)
    box.policy = PolicySettings()
    for number in range(1, 8):
        box.submit(single(number, 9, "ada"), works=9 * HOUR, needs=())
    box.submit(single(8, 3, "bob", "one"), works=3 * HOUR, needs=())
    box.decide()
    box.submit(single(9, 2, "bob", "one"), works=2 * HOUR, needs=())
    box.submit(single(10, 2, "bob", "one"), works=2 * HOUR, needs=())
    box.submit(single(11, 4, "eve"), works=4 * HOUR, needs=())
    shown = {i: (one.at - START) / HOUR for i, one in box.decide().expected.items()}
    assert shown == {9: 3.0, 10: 5.0, 11: 7.0}
