"""Actions on a waiting job: hold it, release it, change it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from berth.protocol.jobs import JobPatch
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Invalid
from berth_server.service.jobs.hold import on_hold, on_release
from berth_server.service.jobs.patch import on_patch

ROOT = Caller(0, "root")


class TestHold:
    """Holding and releasing."""

    def test_a_held_job_does_not_start_until_released(self, desk):
        """Whatever is free."""
        job_id = desk.submit(gpus=1, hold=True)
        assert desk.state(job_id) == "held"
        on_release(desk.server, ROOT, job_id)
        assert desk.state(job_id) == "starting"

    def test_a_queued_job_can_be_held(self, desk):
        """It is passed over."""
        desk.submit(gpus=8)
        second = desk.submit(gpus=8)
        on_hold(desk.server, ROOT, second)
        on_hold(desk.server, ROOT, second)
        desk.worker.ended("1.1")
        assert desk.state(second) == "held"

    def test_a_started_or_ended_job_cannot(self, desk):
        """The sentence names what can be done instead."""
        desk.submit(gpus=1)
        with pytest.raises(Conflict, match="cancel"):
            on_hold(desk.server, ROOT, 1)
        with pytest.raises(Conflict, match="nothing to release"):
            on_release(desk.server, ROOT, 1)
        desk.worker.ended("1.1")
        with pytest.raises(Conflict, match="already succeeded"):
            on_hold(desk.server, ROOT, 1)

    def test_release_respects_what_the_job_waits_for(self, desk):
        """A released job with a start time waits for it."""
        job_id = desk.submit(hold=True, not_before="2099-01-01T00:00:00Z")
        on_release(desk.server, ROOT, job_id)
        assert desk.state(job_id) == "waiting"


class TestPatch:
    """Changing a pending job."""

    def test_changes_what_is_given(self, desk):
        """And only that, with an event."""
        desk.submit(hold=True, name="old", time_limit="1h", priority=3)
        on_patch(desk.server, ROOT, 1, JobPatch(name="new", priority=7))
        job = desk.job(1)
        assert (job.name, job.spec.priority, job.spec.time_limit) == ("new", 7, timedelta(hours=1))
        assert desk.kinds(1)[-1] == "job.changed"

    def test_null_lifts_the_time_limit_and_nothing_else(self, desk):
        """A name cannot be null."""
        desk.submit(hold=True, time_limit="1h")
        on_patch(desk.server, ROOT, 1, JobPatch.model_validate_json('{"time_limit": null}'))
        assert desk.job(1).spec.time_limit is None
        with pytest.raises(Invalid, match="name"):
            on_patch(desk.server, ROOT, 1, JobPatch.model_validate_json('{"name": null}'))

    def test_a_started_job_stays_as_it_is(self, desk):
        """Conflict, with its state."""
        desk.submit(gpus=1)
        with pytest.raises(Conflict, match="is starting"):
            on_patch(desk.server, ROOT, 1, JobPatch(priority=1))

    def test_priority_changes_who_is_next(self, desk):
        """At once."""
        desk.submit(gpus=8)
        second, third = desk.submit(gpus=8), desk.submit(gpus=8)
        on_patch(desk.server, ROOT, third, JobPatch(priority=5))
        desk.worker.ended("1.1")
        assert (desk.state(second), desk.state(third)) == ("queued", "starting")
