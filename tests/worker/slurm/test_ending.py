"""Ends of attempts on a cluster: which word counts where records, nodes and Slurm differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from berth.protocol.internal import DesiredAttempt, ExitRecord
from berth.protocol.states import Outcome
from berth_worker.attempts.rundir import RunDir
from berth_worker.slurm import ending, states
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.found import Found
from berth_worker.slurm.listing import ClusterJob

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def job(state: str) -> ClusterJob:
    return ClusterJob(id=7, name="berth-x-4.1-y", state=state, nodes=("n2",))


def record(**end) -> ExitRecord:
    return ExitRecord(attempt="4.1", ended_at=NOW, **end)


@pytest.fixture
def judged(tmp_path):
    """Judge an end: `judged(record, job, action=…, abandoned=…, **found)`."""

    def judge(end, slurm, *, action="run", abandoned=False, **found):
        desired = DesiredAttempt(
            attempt="4.1", token="t" * 32, action=action, run_dir=str(tmp_path), job_id=4, number=1,
            user="ada", command=["true"], workdir="/", gpus=(), grace=timedelta(seconds=60),
            warn_before=timedelta(0),
            stop_reason=Outcome.CANCELLED if action == "stop" else None,
        )  # fmt: skip
        attempt = ClusterAttempt(
            desired, "berth-x-4.1-y", RunDir(str(tmp_path), "4.1", "t" * 32), 0.0, record=end,
            abandoned=abandoned,
        )  # fmt: skip
        known = Found(claimed=True, record=end, **found)
        decision = states.decide(states.Facts(claimed=True, record=end, job=slurm))
        return ending.judge(attempt, known, slurm, decision)

    return judge


def test_a_taken_port_is_passed_on(judged):
    """The server starts the run again on another."""
    end = record(cause="launch_error", message="Its port was taken.", port_taken=True)
    verdict = judged(end, job("COMPLETED"))
    assert (verdict.outcome, verdict.port_taken) == (Outcome.LAUNCH_ERROR, True)


def test_a_run_that_had_succeeded_stays_so(judged):
    """Slurm may be asked to cancel a job whose end it has not seen."""
    assert judged(record(cause="exit", exit_code=0), job("CANCELLED")).outcome is Outcome.EXIT


def test_our_own_cancel_of_an_abandoned_job_is_not_the_reason(judged):
    """The run failed by itself before."""
    end = record(cause="exit", exit_code=5)
    assert judged(end, job("CANCELLED"), abandoned=True).outcome is Outcome.EXIT
    assert judged(end, job("CANCELLED")).outcome is Outcome.CANCELLED


def test_a_killed_supervisor_is_named_unless_the_run_was_stopped(judged):
    """The record says that the shim was told to stop; the node says why."""
    end = record(cause="stopped", signal=15)
    lost = judged(end, job("CANCELLED"), orphaned=True, lost_node="n2")
    assert lost.outcome is Outcome.LOST
    assert "on n2 was killed" in (lost.message or "")
    stopped = judged(end, job("CANCELLED"), action="stop", orphaned=True, lost_node="n2")
    assert stopped.outcome is Outcome.CANCELLED
