"""Reservations, and drains that end by themselves."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from tests.server.conftest import ME, open_desk

from berth.protocol.reservations import ReservationRequest
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Forbidden, Invalid, NotFound
from berth_server.service.gpus.drain import on_drain
from berth_server.service.gpus.gpu_map import show_gpu
from berth_server.service.gpus.reservations import (
    on_reserve,
    on_unreserve,
    show_reservations,
)
from berth_server.service.scheduling.snapshot import snapshot
from berth_server.service.scheduling.timers import next_due, on_due, on_start

HOUR = 3600.0
NOBODY = Caller(65534, "nobody")


def at(desk, hours: float) -> datetime:
    """So many hours from now."""
    return datetime.fromtimestamp(desk.clock.now + hours * HOUR, UTC)


def reserve(desk, gpus, *, begin: float | None = None, end: float, caller=ME, **more):
    """Reserve GPUs by hours from now."""
    more.setdefault("users", ["nobody"])
    wish = ReservationRequest(
        gpus=[str(gpu) for gpu in gpus],
        starts_at=None if begin is None else at(desk, begin),
        ends_at=at(desk, end),
        **more,
    )
    return on_reserve(desk.server, caller, wish)


class TestReserved:
    """Reservations in the scheduler."""

    def test_jobs_of_others_stay_off_and_say_why(self, desk):
        """The reason names for whom, why and until when."""
        reserve(desk, range(8), end=5, reason="camera-ready")
        job = desk.submit(gpus=1)
        assert desk.state(job) == "queued"
        why = desk.explain(job)
        assert "reserved for nobody (camera-ready)" in why
        assert desk.state(desk.submit(NOBODY, gpus=8)) == "starting"

    def test_a_job_that_is_over_before_it_begins_may_start(self, desk):
        """By its time limit; without one it waits."""
        reserve(desk, range(8), begin=2, end=5)
        assert desk.state(desk.submit(gpus=1, time_limit="1h")) == "starting"
        assert desk.state(desk.submit(gpus=1, time_limit="3h")) == "queued"
        assert desk.state(desk.submit(gpus=1)) == "queued"

    def test_the_others_get_the_gpus_when_it_is_over(self, desk):
        """By the clock, with an event; it leaves the list."""
        reserve(desk, range(8), end=5)
        job = desk.submit(gpus=1)
        assert next_due(desk.server) == pytest.approx(desk.clock.now + 60.0)
        desk.clock.now += 5 * HOUR
        desk.worker.tell()
        on_due(desk.server)
        assert desk.state(job) == "starting"
        assert show_reservations(desk.server).reservations == []
        assert "reservation.over" in desk.kinds()

    def test_they_get_them_at_once_when_it_is_deleted(self, desk):
        """The message names who did it."""
        made = reserve(desk, range(8), end=5)
        job = desk.submit(gpus=1)
        on_unreserve(desk.server, ME, made.id)
        assert desk.state(job) == "starting"
        with pytest.raises(NotFound, match="There is no reservation"):
            on_unreserve(desk.server, ME, made.id)

    def test_its_users_take_those_gpus_first(self, desk):
        """The rest of the box stays for the others."""
        reserve(desk, [6, 7], end=5)
        desk.submit(NOBODY, gpus=2)
        assert set(desk.held()) == {"GPU-6", "GPU-7"}

    def test_members_of_a_group_are_admitted_whatever_their_limits_count_for(
        self, desk, monkeypatch
    ):
        """Membership is asked of the box, once per user and group."""
        monkeypatch.setattr(desk.server.groups, "knows", lambda _: True)
        monkeypatch.setattr(
            desk.server.groups, "has", lambda group, user: (group, user) == ("vision", "nobody")
        )
        reserve(desk, range(8), end=5, users=[], groups=["vision"])
        assert desk.state(desk.submit(gpus=1)) == "queued"
        assert desk.state(desk.submit(NOBODY, gpus=1)) == "starting"

    def test_it_outlasts_a_restart_and_ends_meanwhile(self, tmp_path, desk):
        """A server that was down past its end forgets it at the start."""
        reserve(desk, [0], end=5)
        on_drain(desk.server, ME, "1", "fan", at(desk, 5))
        desk.server.db.close()
        with open_desk(tmp_path, desk.clock) as again:
            assert len(snapshot(again.server, desk.clock.now).reservations) == 1
            desk.clock.now += 6 * HOUR
            on_start(again.server, "0")
            assert show_reservations(again.server).reservations == []
            assert again.server.drains == {}


class TestRefusals:
    """Refusals, in a sentence that names the fix."""

    def test_only_admins_reserve_and_delete(self, desk):
        """All others learn whom to ask."""
        with pytest.raises(Forbidden, match="Only an admin"):
            reserve(desk, [0], end=1, caller=NOBODY)
        made = reserve(desk, [0], end=1)
        with pytest.raises(Forbidden, match="Only an admin"):
            on_unreserve(desk.server, NOBODY, made.id)

    def test_the_same_gpu_is_not_promised_twice(self, desk):
        """Until the first is over; for the same people it may be."""
        reserve(desk, [0, 1], begin=1, end=3)
        with pytest.raises(Conflict, match=r"GPU 1 is reserved for nobody .* \(reservation 1\)"):
            reserve(desk, [1, 2], begin=2, end=4, users=[ME.user])
        reserve(desk, [1, 2], begin=3, end=4, users=[ME.user])
        reserve(desk, [1], begin=2, end=3)

    def test_unknown_names_are_refused(self, desk):
        """They would keep the GPUs from all users."""
        with pytest.raises(Invalid, match="no user 'adda'"):
            reserve(desk, [0], end=1, users=["adda"])
        with pytest.raises(Invalid, match="no group 'visoin'"):
            reserve(desk, [0], end=1, users=[], groups=["visoin"])

    def test_times_that_are_over_are_refused(self, desk):
        """For reservations and drains alike."""
        with pytest.raises(Invalid, match="would be over already"):
            reserve(desk, [0], end=-1)
        with pytest.raises(Invalid, match="would have ended already"):
            on_drain(desk.server, ME, "0", None, at(desk, -1))

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({"gpus": ["0"], "ends_at": "2040-01-01T00:00:00Z"}, "Say for whom"),
            (
                {
                    "gpus": ["0"],
                    "users": ["root"],
                    "starts_at": "2040-01-02T00:00:00Z",
                    "ends_at": "2040-01-01T00:00:00Z",
                },
                "must be later than",
            ),
            ({"gpus": ["9"], "users": ["root"], "ends_at": "2040-01-01T00:00:00Z"}, "no GPU '9'"),
        ],
    )
    def test_bodies_that_make_no_sense_are_refused(self, api, body, sentence):
        """Over REST, with the field's sentence."""
        answer = api.post("/api/v1/reservations", json=body)
        assert answer.status_code in {404, 422}
        assert sentence in answer.text


def test_the_routes_make_list_and_delete(api, desk):
    """201, the list, the GPU's own field, and the deletion's answer."""
    body = {
        "gpus": ["0", "GPU-3"],
        "users": ["root"],
        "ends_at": at(desk, 4).isoformat(),
        "reason": "camera-ready",
    }
    made = api.post("/api/v1/reservations", json=body)
    assert made.status_code == 201, made.text
    result = made.json()
    assert (result["gpu_indices"], result["active"], result["made_by"]) == ([0, 3], True, ME.user)
    assert api.get("/api/v1/reservations").json() == {"reservations": [result]}
    assert api.get("/api/v1/gpus").json()["gpus"][3]["reservations"] == [result]
    assert api.delete(f"/api/v1/reservations/{result['id']}").json() == result
    assert api.get("/api/v1/gpus").json()["gpus"][3]["reservations"] == []


class TestDrainWithAnEnd:
    """A drain that ends by itself."""

    def test_jobs_are_let_on_again_at_the_moment_it_ends(self, desk):
        """By the clock, as `system`, with an event; explain named the time."""
        for gpu in range(8):
            on_drain(desk.server, ME, str(gpu), "new fan", at(desk, 2))
        job = desk.submit(gpus=1)
        assert desk.state(job) == "queued"
        assert "new fan" in desk.explain(job)
        shown = show_gpu(desk.server, "GPU-0")
        assert (shown.drain_reason, shown.drain_until) == ("new fan", at(desk, 2))
        desk.clock.now += 2 * HOUR
        desk.worker.tell()
        on_due(desk.server)
        assert desk.state(job) == "starting"
        assert desk.kinds().count("gpu.undrained") == 8

    def test_it_ends_although_no_job_waits(self, desk):
        """The clock is set for it, not only for plans."""
        on_drain(desk.server, ME, "0", None, at(desk, 2))
        assert next_due(desk.server) == desk.clock.now + 2 * HOUR

    def test_drained_again_it_takes_the_new_reason_and_end(self, desk):
        """Since stays, the end may go."""
        on_drain(desk.server, ME, "0", "fan", at(desk, 2))
        on_drain(desk.server, ME, "0", "fan", at(desk, 4))
        assert show_gpu(desk.server, "GPU-0").drain_until == at(desk, 4)
        on_drain(desk.server, ME, "0", "fan")
        assert show_gpu(desk.server, "GPU-0").drain_until is None
        assert next_due(desk.server) is None


def test_the_tests_users_are_two(desk):
    """Precondition of the tests above: they reserve for another user than their own."""
    assert os.getuid() != NOBODY.uid
    assert desk.server.groups.knows_user("nobody")
