"""Trying again: by itself, down the ladder, by hand."""

from __future__ import annotations

import pytest

from berth.protocol.specs import OomLadder
from berth.protocol.states import Outcome
from berth_server.core.retry_pause import retry_pause_s
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict
from berth_server.service.jobs.retry import on_retry
from berth_server.service.scheduling.explain import explain_job
from berth_server.service.scheduling.timers import next_due, on_due
from berth_server.store import events

ROOT = Caller(0, "root")


def pause_over(desk):
    """Let the pause before the next attempt pass."""
    desk.clock.now = next_due(desk.server)
    on_due(desk.server)


class TestPauses:
    """Failed attempts do not follow one another without a pause."""

    def test_the_pause_grows_up_to_a_bound_and_counts_from_the_start(self):
        """What ran long enough is tried again at once."""
        assert [retry_pause_s(n, 0.0) for n in (1, 2, 3, 4, 10, 99)] == [1, 2, 4, 8, 300, 300]
        assert retry_pause_s(4, 5.0) == 3
        assert retry_pause_s(99, 301.0) == 0

    def test_a_paused_job_says_so_and_keeps_its_place(self, desk):
        """It leaves its GPUs to others meanwhile, and its age goes on."""
        job_id = desk.submit(gpus=8, retries=5)
        ready = desk.job(job_id).ready_at
        for number in (1, 2, 3):
            pause_over(desk) if number > 1 else None
            desk.worker.ended(f"{job_id}.{number}", 1)

        job = desk.job(job_id)
        assert (job.state, job.ready_at) == ("waiting", ready)
        assert job.resumes_at == desk.clock.now + 4
        said = [e.message for e in events.newest(desk.server.db.read, limit=9, job_id=job_id)]
        assert any("queued again in " in message for message in said)
        other = desk.submit(gpus=8)
        assert desk.state(other) == "starting"

    def test_a_retry_by_hand_and_a_lost_place_do_not_pause(self, desk):
        """Only a failure does."""
        desk.submit(gpus=1, retries=1)
        desk.worker.ended("1.1", None, signal=15, cause="stopped", outcome=Outcome.PREEMPTED)
        assert desk.state(1) == "starting"
        desk.worker.ended("1.2", 1)
        pause_over(desk)
        desk.worker.ended("1.3", 1)
        on_retry(desk.server, ROOT, 1)
        assert (desk.state(1), desk.job(1).resumes_at) == ("starting", None)


class TestPorts:
    """A port that somebody outside has taken costs no retry."""

    def test_another_port_is_tried_by_itself(self, desk):
        """The job runs though it has no retries, on another port, and its user is told."""
        desk.submit(gpus=1)
        first = desk.server.cache.desired_state().attempts[0].master_port
        desk.worker.ended("1.1", None, cause="launch_error", outcome=Outcome.LAUNCH_ERROR,
                          message="Its port was taken.", port_taken=True)  # fmt: skip

        job = desk.job(1)
        assert (job.state, job.attempts, job.failures) == ("starting", 2, 0)
        assert desk.server.cache.desired_state().attempts[0].master_port != first
        said = [e.message for e in events.newest(desk.server.db.read, limit=9, job_id=1)]
        assert any("it starts again on another port" in message for message in said)

    def test_it_is_not_tried_for_ever(self, desk):
        """Where every port seems taken, something else is wrong."""
        desk.submit(gpus=1)
        for number in range(1, 11):
            assert desk.state(1) == "starting"
            desk.worker.ended(f"1.{number}", None, cause="launch_error",
                              outcome=Outcome.LAUNCH_ERROR, port_taken=True)  # fmt: skip
        assert desk.state(1) == "failed"


class TestRetries:
    """Trying again."""

    def test_a_failure_takes_a_retry_until_none_is_left(self, desk):
        """`retries` counts the attempts after the first."""
        job_id = desk.submit(gpus=1, retries=2)
        for number in (1, 2):
            desk.worker.ended(f"1.{number}", 1)
            assert desk.state(job_id) == "waiting", number
            pause_over(desk)
            assert desk.state(job_id) == "starting", number
        desk.worker.ended("1.3", 1)
        job = desk.job(job_id)
        assert (job.state, job.attempts) == ("failed", 3)

    @pytest.mark.parametrize("outcome", [Outcome.ESCAPED, Outcome.LAUNCH_ERROR])
    def test_some_ends_are_never_retried(self, desk, outcome):
        """Trying again would do the same."""
        desk.submit(gpus=1, retries=5)
        desk.worker.ended("1.1", 1, outcome=outcome)
        assert desk.state(1) == "failed"

    def test_a_preempted_attempt_is_queued_again_and_counts_nothing(self, desk):
        """Whatever `retries` says."""
        desk.submit(gpus=1)
        desk.worker.ended("1.1", None, signal=15, cause="stopped", outcome=Outcome.PREEMPTED)
        job = desk.job(1)
        assert (job.state, job.attempts, job.failures) == ("starting", 2, 0)

    def test_oom_walks_down_the_ladder_and_tells_the_job_so(self, desk):
        """Each step is taken once, in order; BERTH_OOM_STEPS lists those taken."""
        steps = ("halve_micro_batch", "offload")
        desk.submit(gpus=1, on_oom=OomLadder(steps=steps))
        seen = []
        for number in (1, 2, 3):
            (wanted,) = desk.server.cache.desired_state().attempts
            seen.append(wanted.env.get("BERTH_OOM_STEPS"))
            desk.worker.ended(f"1.{number}", 1, outcome=Outcome.OOM_GPU)
        assert seen == [None, "halve_micro_batch", "halve_micro_batch,offload"]
        job = desk.job(1)
        assert (job.state, job.outcome, job.attempts) == ("failed", "oom_gpu", 3)

    def test_a_retry_by_hand_starts_over(self, desk):
        """With all retries, under the same id."""
        desk.submit(gpus=1, retries=1)
        desk.worker.ended("1.1", 1)
        pause_over(desk)
        desk.worker.ended("1.2", 1)
        on_retry(desk.server, ROOT, 1)
        assert desk.state(1) == "starting"
        desk.worker.ended("1.3", 1)
        pause_over(desk)
        desk.worker.ended("1.4", 1)
        assert (desk.state(1), desk.job(1).attempts) == ("failed", 4)

    def test_only_an_ended_job_can_be_retried(self, desk):
        """The sentence says where it is."""
        desk.submit(hold=True)
        with pytest.raises(Conflict, match="is held"):
            on_retry(desk.server, ROOT, 1)

    def test_a_job_that_does_not_fit_any_more_is_not_queued(self, desk):
        """The box may have lost GPUs since."""
        desk.submit(gpus=8)
        desk.worker.ended("1.1", 1)
        desk.worker.gpus = 4
        desk.worker.tell()
        with pytest.raises(Conflict, match="has 4"):
            on_retry(desk.server, ROOT, 1)


def test_why_a_paused_job_waits(desk):
    """With the time that is left of the pause, which is seconds."""
    desk.submit(gpus=1, retries=5)
    for number in (1, 2, 3):
        if number > 1:
            pause_over(desk)
        desk.worker.ended(f"1.{number}", 1)

    said = explain_job(desk.server, 1).summary

    assert said == "It pauses after a failed attempt, and may start again in 4s."
