"""The policy's rules seen through the service: calendars, groups, reservations, dry runs."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest
from tests.server.conftest import ME, Rest

from berth.protocol.reservations import ReservationRequest
from berth_server.core.settings import CalendarRule, Limits, PolicySettings
from berth_server.service.auth.callers import Caller
from berth_server.service.gpus.reservations import on_reserve
from berth_server.service.scheduling.explain import explain_job
from berth_server.service.scheduling.timers import next_due, on_due

ADA, BOB = Caller(1, "daemon"), Caller(2, "bin")
NOON = datetime(2027, 3, 3, 12, tzinfo=UTC)  # a Wednesday
NIGHTS = CalendarRule(
    name="nights",
    weekdays=frozenset(range(7)),
    starts=time(22),
    ends=time(7),
    limits=Limits(running_gpus=8),
)


@pytest.fixture
def make(tmp_path, open_desk):
    """Opens a service under a policy, for a `with` block."""

    def opened(policy: PolicySettings):
        return open_desk(tmp_path, policy=policy)

    return opened


def at(desk, moment: datetime) -> None:
    """Move the clock there, the worker reporting."""
    desk.clock.now = moment.timestamp()
    desk.worker.tell()


def expected_s(desk, job: int) -> float | None:
    """In how many seconds a job should start; None when that is not in worker."""
    shown = explain_job(desk.server, job)
    at = shown.expected_start
    return None if at is None else at.timestamp() - desk.clock.now


class TestCalendar:
    """Other limits at some hours."""

    def test_a_night_rule_lifts_the_day_limit_when_its_hour_comes(self, make):
        """By day the job waits and says for which limit; at 22:00 it starts by itself."""
        with make(PolicySettings(user_limits=Limits(running_gpus=2), calendar=(NIGHTS,))) as desk:
            at(desk, NOON)
            job = desk.submit(ADA, gpus=8)
            assert desk.state(job) == "queued"
            assert "holds 0 GPUs and may hold 2" in desk.explain(job)
            helps = explain_job(desk.server, job).would_help
            assert "The calendar changes the limits at 2027-03-03 22:00 UTC." in helps
            evening = NOON.replace(hour=22)
            while desk.state(job) == "queued" and desk.clock.now < evening.timestamp():
                due = next_due(desk.server)
                assert due is not None
                at(desk, datetime.fromtimestamp(max(due, desk.clock.now + 1), UTC))
                on_due(desk.server)
            assert desk.state(job) == "starting"
            assert desk.clock.now == evening.timestamp()

    def test_a_rule_that_keeps_a_user_off_is_named(self, make):
        """Explain says which rule it is."""
        weekend = CalendarRule(
            name="weekend is for vision",
            weekdays=frozenset({5, 6}),
            starts=time(0),
            ends=time(0),
            limits=Limits(running_jobs=0),
            users=frozenset({ADA.user}),
        )
        with make(PolicySettings(calendar=(weekend,))) as desk:
            at(desk, datetime(2027, 3, 6, 12, tzinfo=UTC))
            job, other = desk.submit(ADA, gpus=1), desk.submit(BOB, gpus=1)
            assert (desk.state(job), desk.state(other)) == ("queued", "starting")
            assert '(rule "weekend is for vision")' in desk.explain(job)


class TestLimits:
    """Per user and group."""

    def test_running_jobs_are_limited_with_or_without_gpus(self, make):
        """The third waits until one has ended, and names those that run."""
        with make(PolicySettings(user_limits=Limits(running_jobs=2))) as desk:
            at(desk, NOON)
            first = desk.submit(ADA, gpus=0)
            desk.submit(ADA, gpus=1)
            third = desk.submit(ADA, gpus=1)
            assert desk.state(third) == "queued"
            assert "has 2 jobs running and may have 2" in desk.explain(third)
            desk.worker.ended(f"{first}.1")
            assert desk.state(third) == "starting"

    def test_the_expected_start_is_when_the_limit_lets_it(self, make):
        """Not when GPUs are open; what exceeds the limit by itself has none."""
        with make(PolicySettings(user_limits=Limits(running_gpus=2))) as desk:
            at(desk, NOON)
            for hours in (1, 3):
                desk.submit(ADA, gpus=1, time_limit=f"{hours}h")
            one = desk.submit(ADA, gpus=1, time_limit="1h", priority=1)
            two, many = (desk.submit(ADA, gpus=n, time_limit="1h") for n in (2, 3))
            assert expected_s(desk, one) == pytest.approx(3600)
            assert expected_s(desk, two) == pytest.approx(3 * 3600)
            assert expected_s(desk, many) is None
            helps = explain_job(desk.server, many).would_help
            assert "Ask for at most 2 GPUs, or have the limit raised." in helps

    def test_a_group_is_limited_as_a_whole(self, make, monkeypatch):
        """Two users of one group share its GPUs."""
        with make(PolicySettings(limits_by_group={"vision": Limits(running_gpus=4)})) as desk:
            monkeypatch.setattr(desk.server.groups, "of", lambda _: "vision")
            desk.server.cache._group = lambda _: "vision"
            at(desk, NOON)
            desk.submit(ADA, gpus=3)
            waits = desk.submit(BOB, gpus=2)
            assert desk.state(waits) == "queued"
            assert "Group vision holds 3 GPUs and may hold 4" in desk.explain(waits)

    def test_shares_count_as_their_part_next_to_whole_gpus(self, make):
        """Half a GPU more than one is within two, a whole one more than that is not."""
        with make(PolicySettings(user_limits=Limits(running_gpus=2))) as desk:
            at(desk, NOON)
            jobs = [desk.submit(ADA, gpus=1), desk.submit(ADA, share=True, gpu_memory="40GiB")]
            jobs += [desk.submit(ADA, gpus=1)]
            assert [desk.state(job) for job in jobs] == ["starting", "starting", "queued"]
            assert "holds 1.5 GPUs and may hold 2" in desk.explain(jobs[-1])


def test_no_job_is_stopped_for_gpus_that_others_have_reserved(desk):
    """The urgent job could not use them."""
    low = desk.submit(gpus=8, preemptible=True, priority=-1)
    desk.worker.running(f"{low}.1")
    wish = ReservationRequest(
        gpus=["0"], users=["nobody"], ends_at=datetime.fromtimestamp(desk.clock.now + 3600, UTC)
    )
    on_reserve(desk.server, ME, wish)
    urgent = desk.submit(gpus=8, priority=5)
    assert desk.state(low) == "running"
    assert "reserved for nobody" in desk.explain(urgent)
    desk.submit(gpus=7, priority=6)
    assert desk.state(low) == "stopping"


class TestDryRun:
    """The full result of a dry run."""

    def ask(self, api, **spec):
        """The answer to a dry run."""
        return api.post("/api/v1/jobs/dry-run", json={"command": ["true"], "workdir": "/", **spec})

    def test_every_reason_and_what_would_help_is_reported(self, api, desk):
        """As `berth why` would after the submit."""
        desk.submit(gpus=6, time_limit="2h")
        shown = self.ask(api, gpus=4).json()
        assert [reason["kind"] for reason in shown["reasons"]] == ["gpus_held"]
        assert shown["would_help"] == ["With 2 GPUs it would start now."]
        assert shown["position"] == 1
        assert shown["expected_start"] is not None

    def test_a_holder_without_a_limit_hides_when_its_gpus_come_free(self, api, desk):
        """Hints name the jobs that are in the way."""
        desk.submit(gpus=8)
        assert self.ask(api, gpus=8).json()["would_help"] == [
            "If the jobs on those GPUs had time limits, Berth could say when they come free."
        ]

    def test_what_is_said_of_a_gpu_can_be_said_of_several(self, api, desk):
        """GPUs with the same trouble share a sentence."""
        for index in (4, 5):
            api.post(f"/api/v1/gpus/{index}/drain", json={"reason": "new fans"})
        (reason,) = self.ask(api, gpus=8).json()["reasons"]
        assert reason["sentence"] == f"GPUs 4\N{EN DASH}5: drained by {ME.user}: new fans."

    def test_who_would_be_stopped_is_reported(self, api, desk):
        """By job."""
        low = desk.submit(gpus=8, preemptible=True, priority=-1)
        desk.worker.running(f"{low}.1")
        assert self.ask(api, gpus=1, priority=5).json()["would_preempt"] == [low]
        assert desk.state(low) == "running"

    def test_dependencies_are_looked_at(self, api, desk):
        """It would wait for them; what a submit refuses is refused."""
        first = desk.submit(gpus=1)
        shown = self.ask(api, depends_on=[first]).json()
        assert (shown["starts_now"], shown["reasons"][0]["kind"]) == (False, "dependency")
        assert self.ask(api, depends_on=[99]).status_code == 422

    def test_a_full_queue_refuses_it_as_it_would_a_submit(self, make, tmp_path):
        """With the same sentence."""
        with make(PolicySettings(user_limits=Limits(queued_jobs=0))) as desk:
            at(desk, NOON)
            with Rest(desk, tmp_path).client() as api:
                spec = {"command": ["true"], "workdir": "/"}
                dry, wet = self.ask(api), api.post("/api/v1/jobs", json=spec)
        assert (dry.status_code, wet.status_code) == (409, 409)
        assert dry.json()["detail"] == wet.json()["detail"]
