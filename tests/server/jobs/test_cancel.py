"""Cancelling a job, at every point of its life."""

from __future__ import annotations

import pytest

from berth.protocol.states import Outcome
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Forbidden, NotFound
from berth_server.service.jobs.cancel import on_cancel
from berth_server.store import events

ROOT = Caller(0, "root")
STRANGER = Caller(4321, "mallory")


class TestCancel:
    """Cancelling."""

    def test_of_a_queued_job_ends_it_at_once(self, desk):
        """No attempt is made for it."""
        job_id = desk.submit(hold=True)
        on_cancel(desk.server, ROOT, job_id)
        assert (desk.state(job_id), desk.job(job_id).outcome) == ("cancelled", "cancelled")

    def test_of_a_running_job_goes_through_the_worker(self, desk):
        """The worker gets the order to stop; the job ends when the worker says so."""
        job_id = desk.submit(gpus=1)
        desk.worker.running("1.1")
        on_cancel(desk.server, ROOT, job_id)
        assert desk.state(job_id) == "stopping"
        (wanted,) = desk.server.cache.desired_state().attempts
        assert (wanted.action, wanted.stop_reason) == ("stop", Outcome.CANCELLED)
        desk.worker.ended("1.1", None, signal=15, cause="stopped")
        assert (desk.state(job_id), desk.job(job_id).outcome) == ("cancelled", "cancelled")

    def test_of_an_attempt_that_never_started(self, desk):
        """The worker answers with an end without a record."""
        desk.submit(gpus=1)
        on_cancel(desk.server, ROOT, 1)
        desk.worker.ended("1.1", record=False, outcome=Outcome.CANCELLED)
        assert desk.state(1) == "cancelled"
        assert desk.held() == {}

    def test_that_comes_too_late_leaves_the_success(self, desk):
        """A job that ended well by itself before the stop reached it has succeeded."""
        desk.submit(gpus=1)
        desk.worker.running("1.1")
        on_cancel(desk.server, ROOT, 1)
        desk.worker.ended("1.1", 0, cause="exit")
        assert desk.state(1) == "succeeded"

    def test_twice_is_once(self, desk):
        """Repeating a cancel changes nothing and is no error."""
        desk.submit(gpus=1)
        on_cancel(desk.server, ROOT, 1)
        before = events.last_id(desk.server.db.read)
        on_cancel(desk.server, ROOT, 1)
        assert events.last_id(desk.server.db.read) == before
        desk.worker.ended("1.1", None, signal=15, cause="stopped")
        on_cancel(desk.server, ROOT, 1)

    def test_of_an_ended_job_is_a_conflict(self, desk):
        """There is nothing to cancel, and the sentence says so."""
        desk.submit(gpus=1)
        desk.worker.ended("1.1", 0)
        with pytest.raises(Conflict, match="already succeeded"):
            on_cancel(desk.server, ROOT, 1)

    def test_of_another_users_job_is_refused(self, desk):
        """Only the owner and admins may."""
        desk.submit(hold=True)
        with pytest.raises(Forbidden, match="belongs to"):
            on_cancel(desk.server, STRANGER, 1)
        with pytest.raises(NotFound):
            on_cancel(desk.server, ROOT, 7)
