"""Limits on users and groups, budgets, preemption: the policy's settings in force."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from berth.protocol.internal import ObservedAttempt
from berth_server.core.settings import Limits, PolicySettings
from berth_server.service import ttl_cache
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.scheduling import groups
from berth_server.service.scheduling.explain import explain_job
from berth_server.service.scheduling.groups import Groups
from berth_server.service.transaction import change

ADA, BOB = Caller(1, "daemon"), Caller(2, "bin")


@pytest.fixture
def limited(tmp_path, open_desk) -> Iterator[Any]:
    """A box on which each user may hold four GPUs, 20 GPU-hours a month, three pending jobs."""
    limits = Limits(running_gpus=4, queued_jobs=3, gpu_hours=20.0)
    with open_desk(tmp_path, policy=PolicySettings(user_limits=limits)) as desk:
        desk.worker.tell()
        yield desk


def test_no_user_holds_more_than_allowed(limited):
    """Others start meanwhile; the next one starts when there is room below the limit."""
    first, second = limited.submit(ADA, gpus=3), limited.submit(ADA, gpus=3)
    other = limited.submit(BOB, gpus=4)
    states = [limited.state(job_id) for job_id in (first, second, other)]
    assert states == ["starting", "queued", "starting"]
    limited.worker.ended(f"{first}.1")
    assert limited.state(second) == "starting"


def test_too_many_pending_jobs_are_refused(limited):
    """With the limit in the sentence; a list is refused as a whole."""
    for _ in range(3):
        limited.submit(ADA, hold=True)
    with pytest.raises(Conflict, match="3 jobs pending and may have 3"):
        limited.submit(ADA, hold=True)
    limited.submit(BOB, hold=True)


def test_a_budget_ends_with_its_hours_and_begins_again_with_the_month(limited, tmp_path, open_desk):
    """GPUs held now count as well; a restart counts the same."""
    limited.clock.now = datetime(2027, 1, 30, tzinfo=UTC).timestamp()
    limited.worker.tell()
    first = limited.submit(ADA, gpus=4)
    limited.clock.now += 5 * 3600 + 1
    limited.worker.tell()
    second = limited.submit(ADA, gpus=1, time_limit="1h")
    limited.worker.ended(f"{first}.1")
    assert limited.state(second) == "queued"
    assert "20 GPU-hours" in limited.explain(second)
    with open_desk(tmp_path, limited.clock, limited.server.options.policy) as again:
        again.worker.tell()
        assert again.state(second) == "queued"
        again.clock.now = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
        again.worker.tell()
        with change(again.server):
            pass
        assert again.state(second) == "starting"


def test_an_urgent_job_takes_the_gpus_of_a_preemptible_one(desk):
    """Of lower priority, on a full box; that one is queued again."""
    low = desk.submit(gpus=8, preemptible=True, priority=-1)
    desk.worker.running(f"{low}.1")
    urgent = desk.submit(gpus=8, priority=5)
    assert desk.state(low) == "stopping"
    (wanted,) = desk.server.cache.desired_state().attempts
    assert (wanted.action, wanted.stop_reason) == ("stop", "preempted")
    desk.worker.ended(f"{low}.1", None, signal=15, cause="stopped")
    assert (desk.state(low), desk.state(urgent)) == ("queued", "starting")


def test_age_counts_from_when_nothing_else_kept_the_job(desk):
    """Not while it was held or waited for another; a failed attempt does not take it away."""

    def since(job_id: int) -> float:
        view = desk.server.cache.pending[job_id]
        assert view.eligible_at is not None
        return view.eligible_at.timestamp()

    first = desk.submit(gpus=8, retries=1)
    begun = desk.clock.now
    second = desk.submit(gpus=8, depends_on=[first])
    desk.worker.unhealthy[0] = "Xid 79."
    desk.clock.now += 5
    desk.worker.tell()
    desk.worker.ended(f"{first}.1", 1)
    assert since(first) == begun
    desk.worker.unhealthy.clear()
    desk.clock.now += 5
    desk.worker.tell()
    desk.worker.unhealthy[0] = "Xid 79."
    desk.clock.now += 5
    desk.worker.tell()
    desk.worker.ended(f"{first}.2")
    assert since(second) == desk.clock.now


def test_a_user_counts_for_a_group_that_the_settings_name():
    """Else for their primary one; unknown users count for none."""
    user = Caller(os.getuid(), "root").user
    primary = grp.getgrgid(0).gr_name
    assert Groups(PolicySettings()).of(user) == primary
    named = PolicySettings(limits_by_group={primary: Limits(running_gpus=1), "nowhere": Limits()})
    assert Groups(named).of(user) == primary
    assert Groups(named).of("nobody-of-that-name") is None


def test_who_joins_a_group_counts_for_it_within_a_minute(monkeypatch):
    """Without a restart of the server, and without asking for every job."""
    user = Caller(os.getuid(), "root").user
    clock, members, asked = [1e9], [], []

    def group(name):
        asked.append(name)
        return SimpleNamespace(gr_mem=list(members), gr_gid=-1, gr_name=name)

    monkeypatch.setattr(groups.grp, "getgrnam", group)
    monkeypatch.setattr(ttl_cache, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    known = Groups(PolicySettings(limits_by_group={"vision": Limits(running_gpus=4)}))
    assert [known.has("vision", user) for _ in range(9)] == [False] * 9
    assert asked == ["vision"]
    members.append(user)
    clock[0] += 60
    assert known.has("vision", user)
    assert known.of(user) == "vision"


class TestOwnJobsInTheWay:
    """An urgent job that only its own user's limit keeps: the hint that it gets."""

    def test_preemption_does_not_lift_limits(self, limited):
        """Nobody is stopped; the job to cancel is named, and cancelling it does help."""
        low = limited.submit(ADA, gpus=2, preemptible=True, priority=-1, name="sweep")
        other = limited.submit(ADA, gpus=2, preemptible=True, priority=-1)
        for job in (low, other):
            limited.worker.running(f"{job}.1")
        limited.clock.now += 5
        limited.worker.tell(
            ObservedAttempt(
                attempt=f"{low}.1",
                token=limited.worker.token(f"{low}.1"),
                phase="running",
                saved_at=limited.clock.time(),
            )
        )
        urgent = limited.submit(ADA, gpus=2, priority=5)
        assert [limited.state(job) for job in (low, other, urgent)] == [
            "running",
            "running",
            "queued",
        ]
        (hint,) = explain_job(limited.server, urgent).would_help
        assert hint == (
            f"It starts once job {low} (sweep) ends: cancel it (`berth cancel {low}`) or wait, or "
            "have the limit raised. Preemption does not lift limits."
        )
        on_cancel(limited.server, ADA, low)
        limited.worker.ended(f"{low}.1", None, signal=15, cause="stopped")
        assert limited.state(urgent) == "starting"

    def test_when_one_end_is_not_enough_no_job_is_named(self, limited):
        """Cancelling one of them would not help."""
        for _ in range(2):
            limited.submit(ADA, gpus=2)
        urgent = limited.submit(ADA, gpus=3, priority=5)
        shown = explain_job(limited.server, urgent).would_help
        assert shown == [
            "It starts when several of these jobs have ended, or when the limit is raised."
        ]
