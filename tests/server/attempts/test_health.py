"""Stalls and limits of running jobs: told, shown, and acted on as the job asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from berth.protocol.internal import Examination, ExaminedProcess, ObservedAttempt
from berth_server.core.progress.idleness import Idleness, IdlePolicy
from berth_server.core.progress.pace import Left
from berth_server.core.progress.reading import Position
from berth_server.core.progress.stalls import Steps
from berth_server.service.attempts.health import HealthWatch
from berth_server.service.gpus.telemetry import GpuTelemetry, most_power
from berth_server.service.progress.beliefs import Belief, Signs

LOADS = {"trains": (98, 640.0), "spins": (100, 123.0), "idle": (0, 116.0)}


class Box:
    """A running job whose GPUs and steps the test sets, watched every ten seconds."""

    def __init__(self, desk: Any, **spec: Any) -> None:
        self.desk = desk
        self.job_id = desk.submit(gpus=4, **spec)
        desk.worker.running(f"{self.job_id}.1")
        self.key = (self.job_id, 1)
        self.watch = HealthWatch()
        self.last_at = desk.clock.now
        self.load = "trains"
        self.tail = ""

    def passes(self, seconds: float, *, steps: bool = False) -> None:
        """Time passes; with `steps` the run makes some."""
        server = self.desk.server
        for _ in range(int(seconds / 10)):
            self.desk.clock.now += 10
            if steps:
                self.last_at = self.desk.clock.now
            found = Steps(self.last_at, 2.0, 40.0)
            server.progress.signs[self.key] = Signs(found, self.last_at, False, self.tail)
            self._report()
            self.watch.look(server)

    def _report(self) -> None:
        utilization, power_w = LOADS[self.load]
        snapshot = self.desk.worker.snapshot()
        update = {
            "utilization_percent": utilization,
            "power_w": power_w,
            "power_limit_w": 700.0,
        }
        gpus = tuple(gpu.model_copy(update=update) for gpu in snapshot.gpus)
        report = self.desk.worker.report()
        self.desk.server.worker_state.take(
            report.model_copy(update={"snapshot": snapshot.model_copy(update={"gpus": gpus})}),
            self.desk.clock.now,
        )

    @property
    def asked(self) -> int:
        """Number of the look at its processes that the worker is asked for."""
        (attempt,) = self.desk.server.cache.desired_state().attempts
        return attempt.examine

    def answers(self, *processes: ExaminedProcess, stacks: str | None = None) -> None:
        """The worker has looked."""
        attempt = f"{self.job_id}.1"
        self.desk.worker.tell(
            ObservedAttempt(
                attempt=attempt,
                token=self.desk.worker.token(attempt),
                phase="running",
                examination=Examination(number=self.asked, processes=processes, stacks=stacks),
            )
        )


STILL = ExaminedProcess(pid=7, cpu=0.0, io_bytes_s=0.0)
SPINNING = ExaminedProcess(pid=8, cpu=1.0, io_bytes_s=0.0, gpu=0, rank=0)


def stalled(desk: Any, **spec: Any) -> Box:
    """A job whose ranks wait for a lost one."""
    box = Box(desk, **spec)
    box.passes(1200, steps=True)
    box.load = "spins"
    box.passes(1000)
    box.answers(STILL, SPINNING, stacks="/runs/1/1/stacks.txt")
    box.passes(10)
    return box


def test_a_stalled_job_is_said_everywhere_and_left_alone(desk, api):
    """Event, job, map and why: one sentence with the stacks; it goes on, and so may the alert."""
    box = stalled(desk)
    assert "job.stalled" in desk.kinds(box.job_id)
    job = api.get(f"/api/v1/jobs/{box.job_id}").json()
    (alert,) = job["alerts"]
    assert "GPUs 0\N{EN DASH}3 wait for one another" in alert
    assert "/runs/1/1/stacks.txt" in alert
    assert job["state"] == "running"
    gpus = api.get("/api/v1/gpus").json()["gpus"]
    assert [gpu["holder"]["alerts"] for gpu in gpus if gpu["holder"]["job_id"]] == [[alert]] * 4
    explained = api.get(f"/api/v1/jobs/{box.job_id}/explain").json()
    assert alert in [reason["sentence"] for reason in explained["reasons"]]
    box.passes(600)
    assert desk.kinds(box.job_id).count("job.stalled") == 1
    box.load = "trains"
    box.passes(60, steps=True)
    assert api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"] == []


@pytest.mark.parametrize(("asked", "state"), [("stop", "failed"), ("retry", "starting")])
def test_a_stalled_job_is_stopped_or_tried_again_as_it_asked(desk, asked, state):
    """With outcome `stalled`; `retry` gives it another attempt without `retries`."""
    box = stalled(desk, on_stall=asked)
    assert desk.state(box.job_id) == "stopping"
    desk.worker.ended(f"{box.job_id}.1", None, signal=15, cause="stopped")
    assert desk.state(box.job_id) == state
    assert desk.job(box.job_id).outcome == ("stalled" if asked == "stop" else None)
    if asked == "retry":
        desk.worker.ended(f"{box.job_id}.2", 1)
        assert desk.state(box.job_id) == "failed"


def test_a_process_that_works_clears_a_suspicion(desk):
    """Data preparation keeps a processor busy while GPUs and log are still."""
    box = Box(desk, on_stall="stop")
    box.passes(1200, steps=True)
    box.load = "idle"
    box.passes(2400)
    assert box.asked
    for _ in range(20):
        box.answers(ExaminedProcess(pid=9, cpu=0.9, io_bytes_s=0.0))
        box.passes(200)
    assert desk.state(box.job_id) == "running"
    assert "job.stalled" not in desk.kinds(box.job_id)


def test_a_debugger_that_waits_is_no_stall(desk):
    """Its prompt, or its word that it waits, is the last that the log has."""
    box = Box(desk, on_stall="stop")
    box.passes(1200, steps=True)
    box.load = "idle"
    for box.tail in ("> train.py(40)step()\n(Pdb) ", "RemotePdb session open at 127.0.0.1:4444"):
        box.passes(4000)
        assert not box.asked


def test_a_limit_that_will_not_be_kept_is_said_hours_before(desk, api):
    """Once, with the command that gives it more time, which then holds for the running job."""
    box = Box(desk, time_limit="12h")
    now = desk.clock.now
    position = Position(1000, 5000, 0.2, ("log",), now)
    for _ in range(90):
        left = Left(20 * 3600.0, 22 * 3600.0)
        desk.server.progress.put([(box.key, Belief("log", position, left, desk.clock.now))])
        box.passes(10, steps=True)
    (alert,) = api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"]
    assert alert.startswith("It will not finish within its time limit of 12h: step 1,000 of 5,000")
    assert f"`berth set {box.job_id} --time-limit 25h`" in alert
    assert desk.kinds(box.job_id).count("job.limit_too_short") == 1
    path = f"/api/v1/jobs/{box.job_id}"
    assert api.patch(path, json={"time_limit": "6h"}).status_code == 409
    assert api.patch(path, json={"name": "x"}).status_code == 409
    assert api.patch(path, json={"time_limit": "25h"}).status_code == 200
    (attempt,) = desk.server.cache.desired_state().attempts
    assert attempt.time_limit == timedelta(hours=25)
    desk.server.progress.put([(box.key, Belief("log", position, left, desk.clock.now))])
    box.passes(10, steps=True)
    assert api.get(path).json()["alerts"] == []


def test_a_loss_that_is_not_finite_is_said(desk, api):
    """By the log as by `metrics.jsonl`: one event, and the trouble of the job; it goes on."""
    box = Box(desk)
    box.passes(10, steps=True)
    position = Position(601, 5000, 0.12, ("log",), desk.clock.now)
    desk.server.progress.put([(box.key, Belief("log", position, None, desk.clock.now))])
    signs = desk.server.progress.signs[box.key]
    for lost in (True, True, False, True):
        desk.server.progress.signs[box.key] = replace(signs, diverged=lost)
        box.watch.look(desk.server)
        shown = api.get(f"/api/v1/jobs/{box.job_id}").json()
        assert (shown["trouble"] is not None) is lost
    assert shown["trouble"]["step"] == 601
    assert shown["trouble"]["sentence"] == "loss has been NaN or infinite since step 601."
    assert shown["state"] == "running"
    kinds = [kind for kind in desk.kinds(box.job_id) if kind in {"job.diverged", "job.recovered"}]
    assert kinds == ["job.diverged", "job.recovered", "job.diverged"]


def test_what_the_gpus_drew_at_work_outlives_the_server(desk, tmp_path):
    """Else a run that hangs over a restart would look like a small model, which is no stall."""
    history = GpuTelemetry(tmp_path / "history")
    box = Box(desk)
    for _ in range(24):
        box.passes(60, steps=True)
        snapshot = desk.server.worker_state.snapshot
        assert snapshot is not None
        history.take(snapshot, desk.clock.now)
    box.load = "spins"
    watches = [HealthWatch(), HealthWatch()]
    unseen = watches[1].unseen(desk.server)
    assert unseen.keys() == {box.key}
    watches[1].recall(desk.server, most_power(history, unseen, desk.clock.now))
    asked: list[bool] = []
    for box.watch in watches:
        box.passes(1000)
        asked.append(bool(box.asked))
        desk.server.cache.examine(box.key, 0)
    assert asked == [False, True]


def test_what_was_said_is_not_said_again_after_a_restart(desk, api):
    """The alert comes from the audit log, and goes once the run is seen to work again."""
    box = stalled(desk)
    said = api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"]
    desk.server.alerts.clear()
    box.watch = HealthWatch()
    box.watch.recall(desk.server, {box.key: [640.0] * 4})
    box.passes(600)
    assert api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"] == said
    assert desk.kinds(box.job_id).count("job.stalled") == 1
    box.load = "trains"
    box.passes(400, steps=True)
    assert api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"] == []


def idles(desk: Any, policy: IdlePolicy, **spec: Any) -> Box:
    """A job that trained, and whose GPUs do nothing since."""
    desk.server.options = replace(desk.server.options, idle=policy)
    box = Box(desk, on_stall="warn", **spec)
    box.passes(60, steps=True)
    box.load = "idle"
    return box


def test_a_job_with_idle_gpus_is_told_once_and_stopped_for_good(desk, api):
    """Told before it is stopped, with what ends it and what exempts it; not retried."""
    box = idles(desk, IdlePolicy(stop_after=timedelta(hours=2)), retries=3)
    box.passes(29 * 60, steps=True)
    assert "job.idle" not in desk.kinds(box.job_id)
    box.passes(120, steps=True)
    (alert,) = api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"]
    assert "did nothing for 30m" in alert
    assert "it is stopped after 2h without work" in alert
    box.passes(88 * 60, steps=True)
    assert desk.kinds(box.job_id).count("job.idle") == 1
    assert desk.state(box.job_id) == "running"
    box.passes(120, steps=True)
    assert desk.state(box.job_id) == "stopping"
    desk.worker.ended(f"{box.job_id}.1", None, signal=15, cause="stopped")
    job = api.get(f"/api/v1/jobs/{box.job_id}").json()
    assert (job["state"], job["outcome"], len(job["attempts"])) == ("cancelled", "cancelled", 1)
    assert "--label idle=ok" in job["message"]


@pytest.mark.parametrize(
    ("policy", "spec"),
    [
        (IdlePolicy(), {}),
        (IdlePolicy(stop_after=timedelta(hours=1)), {"labels": {"idle": "ok"}}),
        (IdlePolicy(tell_after=timedelta(minutes=30)), {}),
    ],
)
def test_idle_gpus_are_left_alone(desk, policy, spec):
    """By default, by the label, and where the box only tells."""
    box = idles(desk, policy, **spec)
    box.passes(5 * 3600, steps=True)
    assert desk.state(box.job_id) == "running"
    assert ("job.idle" in desk.kinds(box.job_id)) == (policy.tell_after is not None)


def test_work_in_between_begins_idleness_anew(desk, api):
    """And takes the alert away."""
    box = idles(desk, IdlePolicy(timedelta(minutes=10), timedelta(minutes=20)))
    box.passes(15 * 60, steps=True)
    assert api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"]
    box.load = "trains"
    box.passes(10, steps=True)
    assert api.get(f"/api/v1/jobs/{box.job_id}").json()["alerts"] == []
    box.load = "idle"
    box.passes(15 * 60, steps=True)
    assert desk.state(box.job_id) == "running"
    assert desk.kinds(box.job_id).count("job.idle") == 2


def test_what_was_not_seen_was_not_idle():
    """Neither a gap between looks nor a GPU that does not tell counts."""
    idleness = Idleness()
    assert [idleness.look(at, [0, 4]) for at in (0, 30, 60)] == [0, 30, 60]
    assert idleness.look(200, [0, 0]) == 0
    assert idleness.look(230, [0, 0]) == 30
    assert idleness.look(240, [0, None]) == 0
    assert idleness.look(250, [0, 5]) == 0
    assert idleness.look(260, []) == 0
