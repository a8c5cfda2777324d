"""Berth plan: the scheduler's own plan by GPU, and the reason that a start hangs on."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from berth.protocol.gpus import GpuProcess
from berth.protocol.reservations import ReservationRequest
from berth_server.core.progress.pace import Left
from berth_server.core.progress.reading import Position
from berth_server.service.auth.callers import Caller
from berth_server.service.gpus.drain import on_drain
from berth_server.service.gpus.gpu_map import show_box
from berth_server.service.gpus.reservations import on_reserve
from berth_server.service.jobs.show import show_job
from berth_server.service.progress.beliefs import Belief
from berth_server.service.scheduling.views import moment

ROOT = Caller(0, "root")
GIB = 1 << 30
HOUR = 3600.0


def reserve(desk, gpus: list[str], user: str, starts: float, ends: float) -> None:
    now = desk.clock()
    wish = ReservationRequest(
        gpus=gpus, users=[user], starts_at=moment(now + starts), ends_at=moment(now + ends)
    )
    on_reserve(desk.server, ROOT, wish)


def reason(desk, job_id: int) -> str:
    return show_job(desk.server, desk.job(job_id)).reason or ""


def plan(api, **params):
    answer = api.get("/api/v1/plan", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_no_gpu_is_planned_twice_at_the_same_time(api, desk):
    """Twelve queued jobs of four GPUs and of one, behind two running ones."""
    desk.submit(gpus=4, time_limit=timedelta(hours=2))
    desk.submit(gpus=4, time_limit=timedelta(hours=3))
    for number in range(12):
        desk.submit(gpus=(4, 1, 2)[number % 3], time_limit=timedelta(minutes=30 + number))
    found = plan(api)
    planned = [bar for bar in found["bars"] if bar["kind"] == "planned"]
    assert len(planned) == 12
    assert found["unplanned"] == 0
    on_gpu: dict[int, list[tuple[str, str]]] = {}
    for bar in found["bars"]:
        assert len(bar["gpu_indices"]) in {1, 2, 4}
        for index in bar["gpu_indices"]:
            on_gpu.setdefault(index, []).append((bar["starts_at"], bar["ends_at"]))
    for spans in on_gpu.values():
        spans.sort()
        for (_, end), (begin, _) in pairwise(spans):
            assert end <= begin


def test_the_past_is_by_attempt_with_what_was_too_short_counted(api, desk):
    """GPUs, user and both ends; the two that took no time are one number."""
    desk.submit(gpus=2, name="long")
    desk.worker.running("1.1")
    desk.clock.now += 2 * HOUR
    desk.worker.ended("1.1")
    desk.submit(gpus=1)
    desk.worker.running("2.1")
    desk.worker.ended("2.1")
    (bar,) = plan(api)["bars"]
    assert (bar["kind"], bar["name"], len(bar["gpu_indices"])) == ("past", "long", 2)
    assert plan(api)["short"] == 1


def test_the_reason_is_the_one_that_the_expected_start_hangs_on(desk):
    """Each row names the end that gives it its GPUs, not who holds most of the box."""
    desk.submit(gpus=4, time_limit=timedelta(hours=6))
    desk.submit(gpus=4, time_limit=timedelta(hours=2))
    first = desk.submit(gpus=4, time_limit=timedelta(hours=1))
    second = desk.submit(gpus=4, time_limit=timedelta(hours=1))
    assert reason(desk, first).startswith("GPUs 4\N{EN DASH}7 come free when job 2")
    assert reason(desk, second).startswith(f"It follows job {first} (true), which is ahead of it")


def test_a_start_after_a_drain_or_a_reservation_says_so(desk):
    """With its end."""
    now = moment(desk.clock())
    reserve(desk, [str(i) for i in range(7)], "nobody", 0, 5 * HOUR)
    on_drain(desk.server, ROOT, "GPU-7", None, now + timedelta(hours=3))
    one = desk.submit(gpus=1, time_limit=timedelta(hours=1))
    two = desk.submit(gpus=2, time_limit=timedelta(hours=1))
    assert reason(desk, one).startswith("GPU 7 is drained until")
    assert "reserved for nobody until" in reason(desk, two)


class TestFree:
    """Free means free for the one who looks."""

    def test_what_is_reserved_for_others_is_not_free(self, desk):
        """And is counted by itself; for those it is reserved for it is free."""
        reserve(desk, ["0", "1", "2", "3"], "nobody", 0, HOUR)
        mine, theirs = show_box(desk.server, "root"), show_box(desk.server, "nobody")
        assert mine.sentence == "4 of 8 GPUs free for you, 4 reserved for nobody"
        assert (mine.free_indices, mine.reserved_indices) == ([4, 5, 6, 7], [0, 1, 2, 3])
        assert theirs.sentence == "8 of 8 GPUs free"

    def test_one_that_drains_or_has_an_external_process_is_never_next(self, desk):
        """The next is the first that this user's job could take."""
        for hours in (1, 2, 3, 4):
            desk.submit(gpus=2, time_limit=timedelta(hours=hours))
            desk.worker.running(f"{hours}.1")
        on_drain(desk.server, ROOT, "GPU-0", None, None)
        desk.worker.processes[1] = [
            GpuProcess(pid=4242, user="carol", command="x", memory_bytes=GIB)
        ]
        desk.worker.tell()
        reserve(desk, ["2", "3"], "nobody", HOUR, 9 * HOUR)
        box = show_box(desk.server, "root")
        assert box.next_free is not None
        assert box.next_free.gpu_indices == [4, 5]
        assert "next free GPU in 3h at the latest" in box.sentence

    def test_the_next_by_its_own_progress_has_a_median_and_what_nine_of_ten_keep(self, desk):
        """Never beyond the time limit."""
        desk.submit(gpus=8, time_limit=timedelta(hours=2))
        desk.worker.running("1.1")
        now = desk.clock.now
        for late_s, kept_s in ((4000.0, 4000.0), (9000.0, 7200.0)):
            position = Position(50, 100, 0.5, ("log",), now)
            belief = Belief("log", position, Left(3000.0, late_s), now)
            desk.server.progress.put([((1, 1), belief)])
            box = show_box(desk.server, "root")
            found = box.next_free
            assert found is not None
            assert found.estimated
            assert (
                f"next free GPU in about 50m to {'1h7m' if late_s < 7200 else '2h'}" in box.sentence
            )
            assert found.at.timestamp() == pytest.approx(now + 3000, abs=1)
            assert found.late is not None
            assert found.late.timestamp() == pytest.approx(now + kept_s, abs=1)

    def test_a_shared_gpu_with_an_external_process_offers_no_room(self, desk):
        """It is named instead."""
        desk.submit(gpus=1, share=True, gpu_memory=20 * GIB)
        before = show_box(desk.server, "root").gpus[0]
        assert before.memory_to_share_bytes == before.memory_total_bytes - 20 * GIB
        desk.worker.processes[0] = [
            GpuProcess(pid=4242, user="carol", command="python x.py", memory_bytes=31 * GIB)
        ]
        desk.worker.tell()
        gpu = show_box(desk.server, "root").gpus[0]
        assert gpu.memory_to_share_bytes == 0
        assert "carol" in (gpu.blocked or "")
        assert "carol" in gpu.holder.sentence
        assert "left to share" not in gpu.holder.sentence
