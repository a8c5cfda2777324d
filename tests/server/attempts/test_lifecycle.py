"""Lifecycle of an undisturbed job, from submit to its end."""

from __future__ import annotations

from berth.protocol.states import Outcome
from berth_server.service.attempts import ended


def test_a_job_that_fits_starts_within_its_own_submit(desk):
    """On an idle box the submit's transaction already holds the attempt, its GPUs and port."""
    job_id = desk.submit(gpus=4)
    assert desk.state(job_id) == "starting"
    assert sorted(desk.held()) == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
    (wanted,) = desk.server.cache.desired_state().attempts
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
    """States, times, exit code and outcome are those that the worker reported."""
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
    assert desk.server.cache.desired_state().attempts == ()


def test_an_end_is_when_it_was_and_not_when_it_was_heard(desk):
    """While the disk was full, say; a record from before the start counts from the start."""
    late, wrong = desk.submit(gpus=1), desk.submit(gpus=1)
    desk.worker.running(f"{late}.1")
    desk.worker.running(f"{wrong}.1")
    desk.clock.now += 60
    desk.worker.ended(f"{late}.1", 7, heard_after_s=20)
    desk.worker.ended(f"{wrong}.1", 7, heard_after_s=500)
    assert desk.job(late).ended_at == desk.clock.now - 20
    assert desk.job(wrong).ended_at == desk.job(wrong).started_at


def test_a_job_too_short_to_be_seen_running_still_has_a_start(desk):
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
    """A GPU whose memory is not free is leased to no job."""
    desk.submit(gpus=8)
    second = desk.submit(gpus=1)
    desk.worker.ended("1.1", 0, clear=False)
    assert desk.state(1) == "succeeded"
    assert len(desk.held()) == 8
    assert desk.state(second) == "queued"
    (wanted,) = desk.server.cache.desired_state().attempts
    assert (wanted.attempt, wanted.action) == ("1.1", "stop")
    desk.worker.ended("1.1", 0, clear=True)
    assert desk.state(second) == "starting"


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
        wanted = desk.server.cache.desired_state()
    with open_desk(tmp_path) as desk:
        again = desk.server.cache.desired_state()
        assert again.attempts == wanted.attempts
        assert desk.state(waiting) == "queued"
        desk.worker.tell()
        desk.worker.ended("1.1", 0)
        assert (desk.state(1), desk.state(waiting)) == ("succeeded", "starting")


def test_environment_and_command_reach_the_worker_as_they_were_given(desk):
    """Quotes, spaces and other alphabets included."""
    command = ["sh", "-c", "echo 'a b' \"$X\" 日本 \\n"]
    desk.submit(gpus=0, command=command, env={"X": "ä=1 'q'"})
    (wanted,) = desk.server.cache.desired_state().attempts
    assert wanted.command == command
    assert wanted.env == {"X": "ä=1 'q'"}
    assert wanted.gpus == ()
    assert wanted.master_port is None
    assert desk.job(1).spec.command == command


def test_a_job_that_asks_to_be_queued_again_goes_on(desk):
    """No retry is counted, and its own cancel ends it."""
    job_id = desk.submit(gpus=1)
    desk.worker.running("1.1")
    desk.worker.ended("1.1", 255, outcome=Outcome.PREEMPTED, message="It saved its state.")
    job = desk.job(job_id)
    assert (job.state, job.attempts, job.failures) == ("starting", 2, 0)
    desk.worker.ended("1.2", 0)
    assert desk.state(job_id) == "succeeded"


def test_a_job_that_asks_for_ever_is_ended(desk, monkeypatch):
    """A loop that never gets on would use the queue up."""
    monkeypatch.setattr(ended, "_MOST_ATTEMPTS", 3)
    job_id = desk.submit(gpus=1)
    for number in (1, 2, 3):
        desk.worker.ended(f"1.{number}", 0, outcome=Outcome.PREEMPTED, message="Again.")
    job = desk.job(job_id)
    assert (job.state, job.attempts) == ("failed", 3)
    assert "3 attempts" in job.message
