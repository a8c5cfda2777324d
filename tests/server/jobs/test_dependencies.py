"""Waiting for other jobs, and for a time."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from berth.protocol.specs import JobSpec
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Invalid
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.jobs.retry import on_retry
from berth_server.service.scheduling.explain import explain_job
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
        desk.clock.now = next_due(desk.server)
        on_due(desk.server)
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

    @pytest.mark.parametrize("code", [0, 1])
    def test_afterany_starts_whatever_the_end(self, desk, code):
        """Cleaning up is needed either way."""
        first = desk.submit(gpus=1)
        second = desk.submit(gpus=1, depends_on=[f"afterany:{first}"])
        assert desk.state(second) == "waiting"
        desk.worker.ended("1.1", code)
        assert desk.state(second) == "starting"

    def test_afternotok_starts_after_a_failure_alone(self, desk):
        """The rescue of a run that succeeded is not needed: cancelled, with the reason."""
        good, bad = desk.submit(gpus=1), desk.submit(gpus=1)
        unneeded = desk.submit(gpus=1, depends_on=[f"afternotok:{good}"])
        rescue = desk.submit(gpus=1, depends_on=[f"afternotok:{bad}"])
        desk.worker.ended("1.1", 0)
        assert desk.state(unneeded) == "cancelled"
        assert "not needed" in str(desk.job(unneeded).message)
        desk.worker.ended("2.1", 1)
        assert desk.state(rescue) == "starting"

    def test_a_cancel_counts_as_an_end_that_was_no_success(self, desk):
        """As in Slurm."""
        first = desk.submit(hold=True)
        any_end = desk.submit(gpus=1, depends_on=[f"afterany:{first}"])
        no_success = desk.submit(gpus=1, depends_on=[f"afternotok:{first}"])
        on_cancel(desk.server, ROOT, first)
        assert (desk.state(any_end), desk.state(no_success)) == ("starting", "starting")

    def test_kinds_are_mixed_in_one_job(self, desk):
        """All have to be met; one that cannot be any more ends the job."""
        first, second = desk.submit(gpus=1), desk.submit(gpus=1)
        third = desk.submit(gpus=1, depends_on=[f"afterany:{first}", f"afterok:{second}"])
        desk.worker.ended("1.1", 1)
        assert desk.state(third) == "waiting"
        desk.worker.ended("2.1", 1)
        assert desk.state(third) == "failed"

    def test_an_ended_job_can_be_named_where_its_end_fits(self, desk):
        """What is met already does not hold a job back; what cannot be any more is refused."""
        good, bad = desk.submit(gpus=1), desk.submit(gpus=1)
        desk.worker.ended("1.1", 0)
        desk.worker.ended("2.1", 1)
        after = desk.submit(gpus=1, depends_on=[f"afterany:{bad}", good])
        assert desk.state(after) == "starting"
        with pytest.raises(Invalid, match="only if it fails"):
            desk.submit(depends_on=[f"afternotok:{good}"])

    def test_a_retry_minds_the_kind(self, desk):
        """A job that cleans up can be retried although the other has failed."""
        first = desk.submit(gpus=1)
        second = desk.submit(gpus=1, depends_on=[f"afterany:{first}"])
        desk.worker.ended("1.1", 1)
        desk.worker.ended("2.1", 1)
        on_retry(desk.server, ROOT, second)
        assert desk.state(second) == "starting"

    def test_the_reason_names_the_end_that_it_waits_for(self, desk):
        """`berth why` tells a rescue from a follow-up."""
        first = desk.submit(gpus=1)
        second = desk.submit(gpus=1, depends_on=[f"afternotok:{first}"])
        reasons = explain_job(desk.server, second).reasons
        assert any("a failure of job 1" in reason.sentence for reason in reasons)


@pytest.mark.parametrize(
    ("written", "stored"),
    [(["afterok:3"], [3]), (["afterany:3", 4], ["afterany:3", 4]), (["3", "#4"], [3, 4])],
)
def test_dependencies_have_one_spelling(written, stored):
    """What is stored is what is compared."""
    assert JobSpec(command="true", depends_on=written).depends_on == stored


@pytest.mark.parametrize(
    "written", [["after:3"], ["singleton"], [True], [1.5], ["afterany:0"], [3, "afterany:3"], [""]]
)
def test_dependencies_that_say_nothing_are_refused(written):
    """With the spellings that are read."""
    with pytest.raises(ValidationError, match="depend"):
        JobSpec(command="true", depends_on=written)
