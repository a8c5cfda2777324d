"""What becomes of a job: every way from submit to its end."""

from __future__ import annotations

import json

import pytest

from berth.protocol.jobs import JobPatch, OomLadder
from berth.protocol.states import Outcome
from berth_server.service.callers import Caller
from berth_server.service.cancel import on_cancel
from berth_server.service.clockwork import next_due, on_due
from berth_server.service.errors import Conflict, Forbidden, Invalid, NotFound
from berth_server.service.hold import on_hold, on_release
from berth_server.service.patch import on_patch
from berth_server.service.retry import on_retry

ROOT = Caller(0, "root")
STRANGER = Caller(4321, "mallory")


def test_a_job_that_fits_starts_within_its_own_submit(desk):
    """On an idle box the submit's transaction already holds the attempt, its GPUs and port."""
    job_id = desk.submit(gpus=4)
    assert desk.state(job_id) == "starting"
    assert sorted(desk.held()) == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
    (wanted,) = desk.service.board.desired_state().attempts
    assert (wanted.attempt, wanted.action, len(wanted.gpus)) == ("1.1", "run", 4)
    assert wanted.master_port is not None


def test_a_gang_waits_until_all_its_gpus_are_free_and_then_gets_all(desk):
    """Never a part of them; the end of one job starts the next in the same transaction."""
    desk.submit(gpus=5)
    second = desk.submit(gpus=8)
    assert desk.state(second) == "queued"
    assert set(desk.held().values()) == {"1.1"}
    desk.worker.running("1.1")
    desk.worker.ended("1.1")
    assert desk.state(second) == "starting"
    assert set(desk.held().values()) == {"2.1"}
    assert len(desk.held()) == 8


def test_the_whole_life_of_a_job_that_succeeds(desk):
    """States, times, exit code and outcome are told as the worker saw them."""
    job_id = desk.submit(gpus=1)
    desk.clock.now += 1
    desk.worker.running("1.1")
    desk.clock.now += 5
    desk.worker.ended("1.1", 0)
    job = desk.job(job_id)
    assert (job.state, job.outcome, job.exit_code) == ("succeeded", "exit", 0)
    assert job.started_at == desk.clock.now - 5
    assert job.ended_at == desk.clock.now
    assert desk.held() == {}
    assert desk.service.board.desired_state().attempts == ()


def test_a_job_so_short_that_nobody_saw_it_run_still_has_a_start(desk):
    """An attempt may go from starting to ended in one report."""
    job_id = desk.submit(gpus=1)
    desk.worker.ended("1.1", 3)
    job = desk.job(job_id)
    assert (job.state, job.exit_code) == ("failed", 3)
    assert job.started_at is not None


def test_a_signal_shows_as_128_and_its_number(desk):
    """As a shell tells it."""
    job_id = desk.submit(gpus=1)
    desk.worker.ended("1.1", None, signal=9)
    assert desk.job(job_id).exit_code == 137
    assert "signal 9" in desk.job(job_id).message


def test_leases_outlast_the_attempt_until_the_gpus_are_clear(desk):
    """A GPU whose memory is not gone is given to nobody."""
    desk.submit(gpus=8)
    second = desk.submit(gpus=1)
    desk.worker.ended("1.1", 0, clear=False)
    assert desk.state(1) == "succeeded"
    assert len(desk.held()) == 8
    assert desk.state(second) == "queued"
    (wanted,) = desk.service.board.desired_state().attempts
    assert (wanted.attempt, wanted.action) == ("1.1", "stop")
    desk.worker.ended("1.1", 0, clear=True)
    assert desk.state(second) == "starting"


@pytest.mark.parametrize("phase", ["running", "ended"])
def test_a_report_with_a_wrong_token_changes_nothing(desk, phase):
    """Late and foreign writes are dropped."""
    desk.submit(gpus=1)
    before = desk.service.last_event_id()
    getattr(desk.worker, phase)("1.1", token="0" * 32)
    assert desk.state(1) == "starting"
    assert desk.service.last_event_id() == before


def test_a_report_about_a_released_attempt_changes_nothing(desk):
    """An ended attempt stays ended, as it ended."""
    desk.submit(gpus=1)
    token = desk.worker.token("1.1")
    desk.worker.ended("1.1", 0)
    before = desk.service.last_event_id()
    desk.worker.ended("1.1", 1, token=token)
    desk.worker.running("1.1", token)
    assert desk.job(1).exit_code == 0
    assert desk.state(1) == "succeeded"
    assert desk.service.last_event_id() == before


@pytest.mark.parametrize("attempt", ["nonsense", "1", "1.x", "99.1", "-1.1"])
def test_a_report_about_an_unknown_attempt_is_dropped(desk, attempt):
    """Whatever it is called."""
    desk.worker.running(attempt, "token")
    assert desk.held() == {}


def test_a_repeated_report_writes_nothing(desk):
    """Reports come every second; those without news leave no trace."""
    desk.submit(gpus=1)
    desk.worker.running("1.1")
    before = desk.service.last_event_id()
    generation = desk.service.board.generation
    for _ in range(3):
        desk.clock.now += 1
        desk.worker.running("1.1")
    assert desk.service.last_event_id() == before
    assert desk.service.board.generation == generation


class TestCancel:
    """Cancelling."""

    def test_of_a_queued_job_ends_it_at_once(self, desk):
        """No attempt is made for it."""
        job_id = desk.submit(hold=True)
        on_cancel(desk.service, ROOT, job_id)
        assert (desk.state(job_id), desk.job(job_id).outcome) == ("cancelled", "cancelled")

    def test_of_a_running_job_goes_through_the_worker(self, desk):
        """The worker is told to stop; the job ends when the worker says so."""
        job_id = desk.submit(gpus=1)
        desk.worker.running("1.1")
        on_cancel(desk.service, ROOT, job_id)
        assert desk.state(job_id) == "stopping"
        (wanted,) = desk.service.board.desired_state().attempts
        assert (wanted.action, wanted.stop_reason) == ("stop", Outcome.CANCELLED)
        desk.worker.ended("1.1", None, signal=15, cause="stopped")
        assert (desk.state(job_id), desk.job(job_id).outcome) == ("cancelled", "cancelled")

    def test_of_an_attempt_that_never_started(self, desk):
        """The worker answers with an end without a record."""
        desk.submit(gpus=1)
        on_cancel(desk.service, ROOT, 1)
        desk.worker.ended("1.1", record=False, outcome=Outcome.CANCELLED)
        assert desk.state(1) == "cancelled"
        assert desk.held() == {}

    def test_that_comes_too_late_leaves_the_success(self, desk):
        """A job that ended well by itself before the stop reached it has succeeded."""
        desk.submit(gpus=1)
        desk.worker.running("1.1")
        on_cancel(desk.service, ROOT, 1)
        desk.worker.ended("1.1", 0, cause="exit")
        assert desk.state(1) == "succeeded"

    def test_twice_is_once(self, desk):
        """Repeating a cancel changes nothing and is no error."""
        desk.submit(gpus=1)
        on_cancel(desk.service, ROOT, 1)
        before = desk.service.last_event_id()
        on_cancel(desk.service, ROOT, 1)
        assert desk.service.last_event_id() == before
        desk.worker.ended("1.1", None, signal=15, cause="stopped")
        on_cancel(desk.service, ROOT, 1)

    def test_of_an_ended_job_is_a_conflict(self, desk):
        """There is nothing to cancel, and the sentence says so."""
        desk.submit(gpus=1)
        desk.worker.ended("1.1", 0)
        with pytest.raises(Conflict, match="already succeeded"):
            on_cancel(desk.service, ROOT, 1)

    def test_of_somebody_elses_job_is_refused(self, desk):
        """Only the owner and admins may."""
        desk.submit(hold=True)
        with pytest.raises(Forbidden, match="belongs to"):
            on_cancel(desk.service, STRANGER, 1)
        with pytest.raises(NotFound):
            on_cancel(desk.service, ROOT, 7)


class TestHold:
    """Holding and releasing."""

    def test_a_held_job_does_not_start_until_released(self, desk):
        """Whatever is free."""
        job_id = desk.submit(gpus=1, hold=True)
        assert desk.state(job_id) == "held"
        on_release(desk.service, ROOT, job_id)
        assert desk.state(job_id) == "starting"

    def test_a_queued_job_can_be_held(self, desk):
        """It is passed over."""
        desk.submit(gpus=8)
        second = desk.submit(gpus=8)
        on_hold(desk.service, ROOT, second)
        on_hold(desk.service, ROOT, second)
        desk.worker.ended("1.1")
        assert desk.state(second) == "held"

    def test_a_started_or_ended_job_cannot(self, desk):
        """The sentence names what can be done instead."""
        desk.submit(gpus=1)
        with pytest.raises(Conflict, match="cancel"):
            on_hold(desk.service, ROOT, 1)
        with pytest.raises(Conflict, match="nothing to release"):
            on_release(desk.service, ROOT, 1)
        desk.worker.ended("1.1")
        with pytest.raises(Conflict, match="already succeeded"):
            on_hold(desk.service, ROOT, 1)

    def test_release_respects_what_the_job_waits_for(self, desk):
        """A released job with a start time waits for it."""
        job_id = desk.submit(hold=True, not_before="2099-01-01T00:00:00Z")
        on_release(desk.service, ROOT, job_id)
        assert desk.state(job_id) == "waiting"


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
            (wanted,) = desk.service.board.desired_state().attempts
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
        on_retry(desk.service, ROOT, 1)
        assert desk.state(1) == "starting"
        desk.worker.ended("1.3", 1)
        desk.worker.ended("1.4", 1)
        assert (desk.state(1), desk.job(1).attempts) == ("failed", 4)

    def test_only_an_ended_job_can_be_retried(self, desk):
        """The sentence says where it is."""
        desk.submit(hold=True)
        with pytest.raises(Conflict, match="is held"):
            on_retry(desk.service, ROOT, 1)

    def test_a_job_that_does_not_fit_any_more_is_not_queued(self, desk):
        """The box may have lost GPUs since."""
        desk.submit(gpus=8)
        desk.worker.ended("1.1", 1)
        desk.worker.gpus = 4
        desk.worker.tell()
        with pytest.raises(Conflict, match="has 4"):
            on_retry(desk.service, ROOT, 1)


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
        on_cancel(desk.service, ROOT, 1)
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
            on_retry(desk.service, ROOT, second)
        on_retry(desk.service, ROOT, 1)
        on_retry(desk.service, ROOT, second)
        assert desk.state(second) == "waiting"
        desk.worker.ended("1.2", 0)
        assert desk.state(second) == "starting"

    def test_a_start_time_is_kept_to_the_moment(self, desk):
        """The clockwork is told when; then the job starts."""
        at = desk.clock.time().timestamp() + 60
        when = desk.clock.time().fromtimestamp(at, desk.clock.time().tzinfo)
        job_id = desk.submit(gpus=1, not_before=when)
        assert desk.state(job_id) == "waiting"
        assert next_due(desk.service) == pytest.approx(at)
        desk.clock.now += 59.5
        on_due(desk.service)
        assert desk.state(job_id) == "waiting"
        desk.clock.now = at
        desk.worker.tell()
        on_due(desk.service)
        assert desk.state(job_id) == "starting"
        assert next_due(desk.service) is None


class TestPatch:
    """Changing a pending job."""

    def test_changes_what_is_given(self, desk):
        """And only that, with an event."""
        desk.submit(hold=True, name="old", time_limit="1h", priority=3)
        on_patch(desk.service, ROOT, 1, JobPatch(name="new", priority=7))
        job = desk.job(1)
        assert (job.name, job.priority, job.time_limit_s) == ("new", 7, 3600.0)
        assert desk.kinds(1)[-1] == "job.changed"

    def test_null_lifts_the_time_limit_and_nothing_else(self, desk):
        """A name cannot be null."""
        desk.submit(hold=True, time_limit="1h")
        on_patch(desk.service, ROOT, 1, JobPatch.model_validate_json('{"time_limit": null}'))
        assert desk.job(1).time_limit_s is None
        with pytest.raises(Invalid, match="name"):
            on_patch(desk.service, ROOT, 1, JobPatch.model_validate_json('{"name": null}'))

    def test_a_started_job_stays_as_it_is(self, desk):
        """Conflict, with its state."""
        desk.submit(gpus=1)
        with pytest.raises(Conflict, match="is starting"):
            on_patch(desk.service, ROOT, 1, JobPatch(priority=1))

    def test_priority_changes_who_is_next(self, desk):
        """At once."""
        desk.submit(gpus=8)
        second, third = desk.submit(gpus=8), desk.submit(gpus=8)
        on_patch(desk.service, ROOT, third, JobPatch(priority=5))
        desk.worker.ended("1.1")
        assert (desk.state(second), desk.state(third)) == ("queued", "starting")


def test_nothing_starts_without_a_worker(empty_desk):
    """Jobs are taken in and wait; the first report starts them."""
    desk = empty_desk
    job_id = desk.submit(gpus=1)
    assert desk.state(job_id) == "queued"
    desk.worker.tell()
    assert desk.state(job_id) == "starting"


def test_nothing_starts_when_the_worker_is_silent(desk):
    """After ten seconds without a report; the next report starts what waits."""
    desk.clock.now += 10.5
    job_id = desk.submit(gpus=1)
    assert desk.state(job_id) == "queued"
    desk.worker.tell(snapshot=False)
    assert desk.state(job_id) == "starting"


def test_a_restart_goes_on_where_the_rows_are(tmp_path, open_desk):
    """A new service on the same database wants the same attempts, with the same tokens."""
    with open_desk(tmp_path) as desk:
        desk.worker.tell()
        desk.submit(gpus=4)
        waiting = desk.submit(gpus=8)
        desk.worker.running("1.1")
        wanted = desk.service.board.desired_state()
    with open_desk(tmp_path) as desk:
        again = desk.service.board.desired_state()
        assert again.attempts == wanted.attempts
        assert desk.state(waiting) == "queued"
        desk.worker.tell()
        desk.worker.ended("1.1", 0)
        assert (desk.state(1), desk.state(waiting)) == ("succeeded", "starting")


def test_environment_and_command_reach_the_worker_as_they_were_given(desk):
    """Quotes, spaces and other alphabets included."""
    command = ["sh", "-c", "echo 'a b' \"$X\" 日本 \\n"]
    desk.submit(gpus=0, command=command, env={"X": "ä=1 'q'"})
    (wanted,) = desk.service.board.desired_state().attempts
    assert wanted.command == command
    assert wanted.env == {"X": "ä=1 'q'"}
    assert wanted.gpus == ()
    assert wanted.master_port is None
    assert json.loads(desk.job(1).command) == command
