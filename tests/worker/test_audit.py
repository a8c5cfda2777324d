"""The audit in every sample: jobs outside their lease, outsiders, orphaned memory."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(name="worker")
def _worker(shared_worker):
    return shared_worker


RANK = """
import os, sys, time
os.environ["LOCAL_RANK"] = "0"
if sys.argv[1:]:
    os.environ["CUDA_VISIBLE_DEVICES"] = sys.argv.pop()
    os.execv(sys.executable, [sys.executable, __file__])
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def rank(worker):
    """Path of a script that is rank 0 on the GPU it is given, or on the one of its lease."""
    path = worker.work / "rank.py"
    path.write_text(RANK)
    return str(path)


def on_gpu(worker, index: int) -> list:
    """Processes that the last snapshot shows on a GPU."""
    reports = reversed(worker.server.reports)
    snapshot = next((report.snapshot for report in reports if report.snapshot), None)
    return list(snapshot.gpus[index].processes) if snapshot else []


def test_a_job_shows_on_its_own_gpus(worker, until, rank):
    """Processes carry the attempt they belong to, with pid, user and command."""
    attempt = worker.run(["python", rank], gpus=(3,))
    (seen,) = until(lambda: on_gpu(worker, 3), "it shows")
    assert (seen.attempt, rank in seen.command) == (attempt, True)
    assert seen.pid in worker.pids()


def test_a_job_off_its_lease_is_reported(worker, until, rank):
    """An attempt that went to another GPU shows there, under its name, within seconds."""
    attempt = worker.run(["python", rank, "6"], gpus=(3,))
    (seen,) = until(lambda: on_gpu(worker, 6), "it shows where it is")
    assert seen.attempt == attempt
    assert not on_gpu(worker, 3)
    until(lambda: "audit.escaped" in worker.log.read_text(), "it is logged")
    worker.stop(attempt, "escaped")
    assert worker.until_clear(attempt).outcome == "escaped"


def test_an_outsider_is_reported_without_an_attempt(worker, until):
    """A process that no attempt explains carries none."""
    control = {"outsiders": [{"gpu": 2, "pid": 4242, "user": "bob"}]}
    (worker.home / "simulated.json").write_text(json.dumps(control))
    (seen,) = until(lambda: on_gpu(worker, 2), "it shows")
    assert (seen.pid, seen.user, seen.attempt) == (4242, "bob", None)


def test_gpus_are_clear_only_when_they_are(worker, until):
    """Memory that stays behind keeps the lease; when it goes, the report says so at once."""
    attempt = worker.run("true", gpus=(1,))
    worker.until_clear(attempt)
    control = worker.home / "simulated.json"
    control.write_text(json.dumps({"leftovers": [{"gpu": 1}]}))
    attempt = worker.run("true", gpus=(1,))
    ended = worker.until_phase(attempt, "ended")
    assert not ended.gpus_clear
    reported = len(worker.server.reports)
    until(lambda: len(worker.server.reports) > reported + 1, "another sample")
    assert not worker.seen(attempt).gpus_clear
    control.unlink()
    worker.until_clear(attempt)
