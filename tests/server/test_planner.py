"""Planning with a long queue: quick, and nobody is forgotten."""

from __future__ import annotations

import pytest

from berth.protocol.jobs import JobPatch
from berth_server.core.model import Plan, Preemption
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs.patch import on_patch
from berth_server.service.scheduling import planner
from berth_server.service.scheduling.timers import next_due, on_due

ROOT = Caller(0, "root")


@pytest.fixture(autouse=True)
def _short_queues(monkeypatch):
    """Long begins at four jobs, of which the first two are looked at."""
    monkeypatch.setattr(planner, "_SHORT", 3)
    monkeypatch.setattr(planner, "_HEAD", 2)


def test_the_first_of_the_order_start_without_a_whole_plan(desk):
    """One end, one start, in the order that the whole plan gave."""
    jobs = [desk.submit(gpus=8) for _ in range(10)]
    made_at = desk.service.planner._made_at
    for number, job_id in enumerate(jobs[:-1]):
        desk.worker.ended(f"{job_id}.1")
        assert desk.state(jobs[number + 1]) == "starting"
    assert desk.service.planner._made_at == made_at


def test_what_the_first_leave_free_is_offered_to_everybody_soon(desk):
    """A small job far back starts once the clockwork calls."""
    first = desk.submit(gpus=8)
    for _ in range(6):
        desk.submit(gpus=8)
    desk.worker.processes[0] = []
    small = desk.submit(gpus=1, time_limit="1m", priority=-1)
    desk.service.planner.changed(())
    desk.worker.unhealthy[7] = "Xid 79."
    desk.worker.tell()
    desk.service.planner._changed.clear()
    desk.worker.ended(f"{first}.1")
    if desk.state(small) != "starting":
        assert desk.service.planner.partial
        due = next_due(desk.service)
        assert due is not None
        assert due - desk.clock.now < 0.2
        desk.clock.now = due
        on_due(desk.service)
    assert desk.state(small) == "starting"


def test_a_job_that_changed_finds_its_place_at_once(desk):
    """A new priority and a new job count in the very next plan."""
    first = desk.submit(gpus=8)
    jobs = [desk.submit(gpus=8) for _ in range(8)]
    on_patch(desk.service, ROOT, jobs[-1], JobPatch(priority=5))
    urgent = desk.submit(gpus=8, priority=9)
    desk.worker.ended(f"{first}.1")
    assert desk.state(urgent) == "starting"
    desk.worker.ended(f"{urgent}.1")
    assert desk.state(jobs[-1]) == "starting"


@pytest.mark.parametrize("where", ["plan", "apply"])
def test_a_fault_of_the_scheduler_starts_nothing_and_stops_nothing(api, desk, monkeypatch, where):
    """Submits are still taken in and attempts still end; when it is mended jobs start."""
    first = desk.submit(gpus=1)
    with monkeypatch.context() as broken:

        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        target = (
            "scheduling.planner.core_plan" if where == "plan" else "scheduling.apply.attempts.lease"
        )
        broken.setattr(f"berth_server.service.{target}", fail)
        answer = api.post("/api/v1/jobs", json={"command": "true", "workdir": "/"})
        assert (answer.status_code, answer.json()["state"]) == (201, "queued")
        desk.worker.ended(f"{first}.1")
        assert desk.state(first) == "succeeded"
        assert desk.state(2) == "queued"
        assert desk.held() == {}
        assert desk.service.db.read.value("SELECT count(*) FROM attempts") == 1
    desk.service.plan_now()
    assert desk.state(2) == "starting"


def test_a_preemption_stops_the_one_and_lets_the_other_start(desk, monkeypatch):
    """As the plan says; the preempted job is queued again and loses no retry."""
    low = desk.submit(gpus=8, preemptible=True)
    desk.worker.running(f"{low}.1")
    urgent = desk.submit(gpus=8, priority=9)
    wish = Preemption(job_id=low, attempt=f"{low}.1", for_job_id=urgent, lost_s=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(planner, "core_plan", lambda *_: Plan(preemptions=(wish,)))
        patched.setattr("berth_server.service.scheduling.apply.could_start", lambda *_: True)
        desk.service.plan_now()
        desk.service.plan_now()
    (wanted,) = desk.service.board.desired_state().attempts
    assert (wanted.action, wanted.stop_reason) == ("stop", "preempted")
    assert desk.kinds(low).count("job.stopping") == 1
    desk.worker.ended(f"{low}.1", None, signal=15, cause="stopped")
    assert (desk.state(low), desk.state(urgent)) == ("queued", "starting")
    assert desk.job(low).failures == 0
