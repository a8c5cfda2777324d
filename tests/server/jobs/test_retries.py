"""Trying again: by itself, down the ladder, by hand."""

from __future__ import annotations

import pytest

from berth.protocol.jobs import OomLadder
from berth.protocol.states import Outcome
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict
from berth_server.service.jobs.retry import on_retry

ROOT = Caller(0, "root")


class TestRetries:
    """Trying again."""

    def test_a_failure_takes_a_retry_until_none_is_left(self, desk):
        """`retries` counts the attempts after the first."""
        job_id = desk.submit(gpus=1, retries=2)
        for number in (1, 2):
            desk.worker.ended(f"1.{number}", 1)
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
        desk.worker.ended("1.2", 1)
        on_retry(desk.server, ROOT, 1)
        assert desk.state(1) == "starting"
        desk.worker.ended("1.3", 1)
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
