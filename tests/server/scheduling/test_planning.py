"""Planning and application of plans: at once, in order, and safely."""

from __future__ import annotations

import pytest

from berth.protocol.jobs import JobPatch
from berth_server.core.model import Plan, Preemption
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs.patch import on_patch
from berth_server.service.scheduling import planning
from berth_server.service.scheduling.timers import next_due, on_due
from berth_server.service.transaction import change

ROOT = Caller(0, "root")


def test_jobs_start_in_the_order_of_the_queue(desk):
    """One end, one start."""
    jobs = [desk.submit(gpus=8) for _ in range(10)]
    for number, job_id in enumerate(jobs[:-1]):
        desk.worker.ended(f"{job_id}.1")
        assert desk.state(jobs[number + 1]) == "starting"


def test_while_plans_are_costly_one_plan_serves_many_changes(desk):
    """Submits and ends alike: a timer makes the plan after four times what the last one cost."""
    first = desk.submit(gpus=8)
    second = desk.submit(gpus=8)
    desk.server.plan_cost_s = 0.1
    desk.server.planned_at = desk.clock.now
    desk.worker.ended(f"{first}.1")
    small = desk.submit(gpus=0)
    assert (desk.state(second), desk.state(small)) == ("queued", "queued")
    plans = desk.server.plans
    due = next_due(desk.server)
    assert due == pytest.approx(desk.clock.now + 0.4)
    desk.clock.now = due
    on_due(desk.server)
    assert (desk.state(second), desk.state(small)) == ("starting", "starting")
    assert desk.server.plans == plans + 1


def test_a_costly_plan_waits_no_longer_when_the_clock_is_set_back(desk):
    """Else nothing would start until the clock is where it was."""
    desk.server.plan_cost_s = 0.1
    desk.server.planned_at = desk.clock.now
    desk.clock.now -= 3600
    desk.worker.tell()
    assert desk.state(desk.submit(gpus=1)) == "starting"


def test_a_job_that_changed_finds_its_place_at_once(desk):
    """A new priority and a new job count in the very next plan."""
    first = desk.submit(gpus=8)
    jobs = [desk.submit(gpus=8) for _ in range(8)]
    on_patch(desk.server, ROOT, jobs[-1], JobPatch(priority=5))
    urgent = desk.submit(gpus=8, priority=9)
    desk.worker.ended(f"{first}.1")
    assert desk.state(urgent) == "starting"
    desk.worker.ended(f"{urgent}.1")
    assert desk.state(jobs[-1]) == "starting"


@pytest.mark.parametrize("where", ["plan", "apply"])
def test_a_fault_of_the_scheduler_starts_nothing_and_stops_nothing(api, desk, monkeypatch, where):
    """Submits are still taken in and attempts still end; when it is fixed, jobs start."""
    first = desk.submit(gpus=1)
    with monkeypatch.context() as broken:

        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        target = (
            "scheduling.planning.core_plan"
            if where == "plan"
            else "scheduling.apply.attempts.lease"
        )
        broken.setattr(f"berth_server.service.{target}", fail)
        answer = api.post("/api/v1/jobs", json={"command": "true", "workdir": "/"})
        assert (answer.status_code, answer.json()["state"]) == (201, "queued")
        desk.worker.ended(f"{first}.1")
        assert desk.state(first) == "succeeded"
        assert desk.state(2) == "queued"
        assert desk.held() == {}
        assert desk.server.db.read.value("SELECT count(*) FROM attempts") == 1
    with change(desk.server):
        pass
    assert desk.state(2) == "starting"


def test_a_preemption_stops_the_one_and_lets_the_other_start(desk, monkeypatch):
    """As the plan says; the preempted job is queued again and loses no retry."""
    low = desk.submit(gpus=8, preemptible=True)
    desk.worker.running(f"{low}.1")
    urgent = desk.submit(gpus=8, priority=9)
    wish = Preemption(job_id=low, attempt=f"{low}.1", for_job_id=urgent, lost_s=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(planning, "core_plan", lambda *_: Plan(preemptions=(wish,)))
        patched.setattr("berth_server.service.scheduling.planning.could_start", lambda *_: True)
        with change(desk.server):
            pass
        with change(desk.server):
            pass
    (wanted,) = desk.server.cache.desired_state().attempts
    assert (wanted.action, wanted.stop_reason) == ("stop", "preempted")
    assert desk.kinds(low).count("job.stopping") == 1
    desk.worker.ended(f"{low}.1", None, signal=15, cause="stopped")
    assert (desk.state(low), desk.state(urgent)) == ("queued", "starting")
    assert desk.job(low).failures == 0
