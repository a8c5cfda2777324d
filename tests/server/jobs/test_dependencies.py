"""Waiting for other jobs, and for a time."""

from __future__ import annotations

import pytest

from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Invalid
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.jobs.retry import on_retry
from berth_server.service.scheduling.timers import next_due, on_due

ROOT = Caller(0, "root")


class TestDependencies:
    """Waiting for other jobs, and for a time."""

    def test_a_dependent_starts_when_all_have_succeeded(self, desk):
        """Not before the last one."""
        first, second = desk.submit(gpus=1), desk.submit(gpus=1)
        third = desk.submit(gpus=1, depends_on=[first, second])
        assert desk.state(third) == "waiting"
        desk.worker.ended("1.1")
        assert desk.state(third) == "waiting"
        desk.worker.ended("2.1")
        assert desk.state(third) == "starting"

    def test_a_failure_fails_the_whole_chain(self, desk):
        """Held ones too: they could never start."""
        desk.submit(gpus=1)
        chain = [desk.submit(depends_on=[1])]
        chain.append(desk.submit(depends_on=chain[-1:], hold=True))
        chain.append(desk.submit(depends_on=chain[-1:]))
        desk.worker.ended("1.1", 1)
        assert [desk.state(job_id) for job_id in chain] == ["failed"] * 3
        assert {desk.job(job_id).outcome for job_id in chain} == {"dependency_failed"}

    def test_a_cancel_fails_dependents(self, desk):
        """Cancelled is not succeeded."""
        desk.submit(hold=True)
        second = desk.submit(depends_on=[1])
        on_cancel(desk.server, ROOT, 1)
        assert desk.state(second) == "failed"

    def test_a_retried_failure_does_not_fail_dependents(self, desk):
        """As long as something is left to try they wait."""
        desk.submit(gpus=1, retries=1)
        second = desk.submit(depends_on=[1])
        desk.worker.ended("1.1", 1)
        assert desk.state(second) == "waiting"
        desk.worker.ended("1.2", 0)
        assert desk.state(second) == "starting"

    def test_unknown_and_failed_dependencies_are_refused(self, desk):
        """With the id in the sentence."""
        with pytest.raises(Invalid, match="no job 41"):
            desk.submit(depends_on=[41])
        desk.submit(gpus=1)
        desk.worker.ended("1.1", 1)
        with pytest.raises(Invalid, match="retry job 1 first"):
            desk.submit(depends_on=[1])

    def test_a_retry_needs_its_dependency_first(self, desk):
        """And works once that succeeds."""
        desk.submit(gpus=1)
        second = desk.submit(gpus=1, depends_on=[1])
        desk.worker.ended("1.1", 1)
        with pytest.raises(Conflict, match="retry job 1 first"):
            on_retry(desk.server, ROOT, second)
        on_retry(desk.server, ROOT, 1)
        on_retry(desk.server, ROOT, second)
        assert desk.state(second) == "waiting"
        desk.worker.ended("1.2", 0)
        assert desk.state(second) == "starting"

    def test_a_start_time_is_kept_to_the_moment(self, desk):
        """The timers learn the time; then the job starts."""
        at = desk.clock.time().timestamp() + 60
        when = desk.clock.time().fromtimestamp(at, desk.clock.time().tzinfo)
        job_id = desk.submit(gpus=1, not_before=when)
        assert desk.state(job_id) == "waiting"
        assert next_due(desk.server) == pytest.approx(at)
        desk.clock.now += 59.5
        on_due(desk.server)
        assert desk.state(job_id) == "waiting"
        desk.clock.now = at
        desk.worker.tell()
        on_due(desk.server)
        assert desk.state(job_id) == "starting"
        assert next_due(desk.server) is None
