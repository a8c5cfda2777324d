"""The promises of the schema, each with an attempt to break it."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

import berth_server
from berth.protocol.states import JobState
from berth_server.service.attempts.status import set_job_state
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.jobs.hold import on_release
from berth_server.service.transaction import change
from berth_server.store import events

ROOT = Caller(0, "root")


def test_a_second_unreleased_lease_of_a_gpu_is_refused_by_the_schema(desk):
    """A GPU has one holder, whatever the code above the database does."""
    desk.submit(gpus=1)
    desk.submit(gpus=1)
    with (
        pytest.raises(sqlite3.IntegrityError, match=r"leases\.gpu_uuid"),
        desk.server.db.write(now=0.0) as tx,
    ):
        tx.execute(
            "INSERT INTO leases (gpu_uuid, job_id, number, acquired_at) VALUES ('GPU-0', 2, 1, 0)"
        )
    assert desk.held() == {"GPU-0": "1.1", "GPU-1": "2.1"}


def test_a_second_unreleased_lease_of_a_port_is_refused_by_the_schema(desk):
    """A rendezvous port has one holder."""
    desk.submit(gpus=1)
    desk.submit(gpus=1)
    port = desk.server.db.read.value("SELECT port FROM port_leases WHERE job_id = 1")
    with (
        pytest.raises(sqlite3.IntegrityError, match=r"port_leases\.port"),
        desk.server.db.write(now=0.0) as tx,
    ):
        tx.execute(
            "INSERT INTO port_leases (port, job_id, number, acquired_at) VALUES (?, 2, 1, 0)",
            (port,),
        )


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE jobs SET state = 'sleeping' WHERE id = 1",
        "UPDATE jobs SET outcome = 'bored' WHERE id = 1",
        "UPDATE jobs SET state = 'succeeded' WHERE id = 1",  # without an end
        "UPDATE attempts SET state = 'ended' WHERE job_id = 1",  # without an end
        "UPDATE attempts SET released_at = 1 WHERE job_id = 1",  # while it lives
        "INSERT INTO dependencies (job_id, depends_on) VALUES (1, 1)",
        "INSERT INTO leases (gpu_uuid, job_id, number, acquired_at) VALUES ('GPU-7', 9, 9, 0)",
        (
            "INSERT INTO attempts (job_id, number, state, token, created_at, run_dir, gpus, extra_env)"
            " VALUES (1, 2, 'starting', 't', 0, '/', '[]', '{}')"
        ),
    ],
)
def test_rows_that_make_no_sense_are_refused(desk, sql):
    """States, ends, owners and one living attempt per job are the schema's own rules."""
    desk.submit(gpus=1)
    with pytest.raises(sqlite3.IntegrityError), desk.server.db.write(now=0.0) as tx:
        tx.execute(sql)


def test_ids_are_never_given_out_again(desk):
    """Not even after the newest job's row is gone."""
    first = desk.submit(hold=True)
    with desk.server.db.write(now=0.0) as tx:
        tx.execute("DELETE FROM events WHERE job_id = ?", (first,))
        tx.execute("DELETE FROM jobs WHERE id = ?", (first,))
    desk.server.cache.load(desk.server.db.read, 0.0)
    assert desk.submit(hold=True) == first + 1


def test_a_status_is_set_in_one_place():
    """No other file of the server writes a state into the database."""
    root = Path(berth_server.__file__).parent
    writes = re.compile(r"(UPDATE\s+(jobs|attempts)\s+SET|SET\s+state)")
    found = {path.name for path in root.rglob("*.py") if writes.search(path.read_text())}
    # jobs.py sets other columns and asserts that the state is not among them; attempts.py
    # releases leases.
    assert found == {"status.py", "jobs.py", "attempts.py"}


def test_every_change_of_state_has_its_event(desk):
    """The audit log tells the whole life of a job, in order."""
    job_id = desk.submit(gpus=1, hold=True)
    on_release(desk.server, ROOT, job_id)
    desk.worker.running("1.1")
    on_cancel(desk.server, ROOT, job_id)
    desk.worker.ended("1.1", None, signal=15, cause="stopped")
    assert desk.kinds(job_id) == [
        "job.submitted",
        "job.queued",
        "job.starting",
        "job.running",
        "job.stopping",
        "job.cancelled",
    ]


def test_a_failed_change_leaves_nothing_behind(desk):
    """An error inside a change undoes its rows, its events and what the board saw of it."""
    job_id = desk.submit(hold=True)
    before = events.last_id(desk.server.db.read), dict(desk.server.cache.pending)

    def fail() -> None:
        with change(desk.server) as tx:
            set_job_state(tx, job_id, JobState.QUEUED, "It is let go.")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert desk.state(job_id) == "held"
    assert (events.last_id(desk.server.db.read), dict(desk.server.cache.pending)) == before
