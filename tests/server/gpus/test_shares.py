"""GPUs that several jobs share: leased by memory, never beyond the GPU, watched."""

from __future__ import annotations

import sqlite3

import pytest
from tests.server.conftest import GIB, ME

from berth.protocol.gpus import GpuProcess
from berth.protocol.states import Outcome
from berth_server.core.settings import Limits, PolicySettings
from berth_server.service.errors import Invalid
from berth_server.service.gpus.gpu_map import show_box
from berth_server.service.gpus.shares import CONTEXT_BYTES
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.scheduling.explain import explain_job
from berth_server.store import messages


def share(desk, size: str = "20GiB", **more) -> int:
    """Submit a job that takes part of a GPU; its id."""
    return desk.submit(share=True, gpu_memory=size, **more)


def cards(desk) -> dict[str, list[tuple[str, int | None]]]:
    """Attempt and leased bytes per GPU, as the database has it."""
    found: dict[str, list[tuple[str, int | None]]] = {}
    for uuid, job, number, memory in desk.server.db.read.all(
        "SELECT gpu_uuid, job_id, number, memory_bytes FROM leases WHERE released_at IS NULL "
        "ORDER BY id"
    ):
        found.setdefault(uuid, []).append((f"{job}.{number}", memory))
    return found


def process(attempt: str, size: int, pid: int = 77) -> GpuProcess:
    """A process of an attempt as the driver shows it."""
    return GpuProcess(pid=pid, memory_bytes=size, attempt=attempt)


class TestPlacing:
    """Placement of shares."""

    def test_shares_fill_one_gpu_before_they_take_another(self, desk):
        """Four of 20 GiB lie on one GPU of 80; the fifth begins a new one."""
        for _ in range(5):
            share(desk)
        held = cards(desk)
        assert sorted(len(one) for one in held.values()) == [1, 4]
        assert all(memory == 20 * GIB for one in held.values() for _, memory in one)

    def test_whole_gpus_and_shares_exclude_each_other(self, desk):
        """A gang takes the other seven; neither gets onto the other's GPUs."""
        share(desk)
        gang = desk.submit(gpus=7)
        late = desk.submit(gpus=1)
        more = share(desk, "60GiB")
        assert (desk.state(gang), desk.state(late), desk.state(more)) == (
            "starting",
            "queued",
            "starting",
        )
        held = cards(desk)
        assert len(held) == 8
        assert "20 GiB of it): held by job 1" in desk.explain(late)

    def test_a_share_that_does_not_fit_waits_and_says_why(self, desk):
        """On a box whose GPUs are taken it names the holder of each."""
        desk.submit(gpus=7)
        share(desk, "70GiB")
        waiting = share(desk, "20GiB")
        assert desk.state(waiting) == "queued"
        assert "held by job 2" in desk.explain(waiting)
        desk.worker.running("2.1")
        desk.worker.ended("2.1")
        assert desk.state(waiting) == "starting"

    def test_a_share_is_given_back_alone(self, desk):
        """The other's share stays leased; the GPU is whole again after both."""
        first, second = share(desk), share(desk)
        desk.worker.ended("1.1")
        assert [a for one in cards(desk).values() for a, _ in one] == [f"{second}.1"]
        assert desk.state(first) == "succeeded"
        desk.worker.ended("2.1")
        assert not cards(desk)
        assert desk.state(desk.submit(gpus=8)) == "starting"

    def test_a_share_with_memory_still_in_use_is_not_given_back(self, desk):
        """Ended, yet seen on the GPU: its part stays taken, the neighbour goes on."""
        share(desk, "40GiB")
        share(desk, "40GiB")
        desk.worker.ended("1.1", clear=False)
        waiting = desk.submit(share=True, gpu_memory="30GiB", gpus=1, priority=-1)
        assert len(cards(desk)["GPU-0"]) == 2
        assert desk.state(waiting) == "starting"
        assert [memory for _, memory in cards(desk)["GPU-1"]] == [30 * GIB]

    def test_its_expected_start_is_when_enough_shares_have_ended(self, desk):
        """Not when the whole GPU comes free."""
        desk.submit(gpus=7, time_limit="20h")
        for hours in (1, 10):
            share(desk, "40GiB", time_limit=f"{hours}h")
        for attempt in ("1.1", "2.1", "3.1"):
            desk.worker.running(attempt)
        for size, hours in (("30GiB", 1), ("50GiB", 10)):
            shown = explain_job(desk.server, share(desk, size, time_limit="1m"))
            assert shown.expected_start is not None
            waits_s = shown.expected_start.timestamp() - desk.clock.now
            assert waits_s == pytest.approx(hours * 3600)


class TestSpec:
    """Valid requests."""

    @pytest.mark.parametrize(
        ("spec", "sentence"),
        [
            ({"share": True}, "say how much of the GPU"),
            ({"share": True, "gpu_memory": "20GiB", "gpus": 2}, "part of one GPU"),
            ({"share": True, "gpu_memory": "20GiB", "gpus": 0}, "part of one GPU"),
        ],
    )
    def test_a_share_is_part_of_one_gpu(self, api, spec, sentence):
        """Anything else is refused in a sentence."""
        answer = api.post("/api/v1/jobs", json={"command": ["true"], "workdir": "/", **spec})
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]

    def test_a_command_for_several_gpus_is_refused(self, desk):
        """It would start ranks that find one GPU."""
        with pytest.raises(Invalid, match="asks for 4 GPUs and a share is part of one GPU"):
            share(desk, command="torchrun --nproc-per-node=4 train_deepspeed.py", workdir="/")

    def test_a_share_larger_than_any_gpu_is_refused(self, desk):
        """It could never start."""
        with pytest.raises(Invalid, match=r"share of 100\.0 GiB and this box's largest GPU has 80"):
            share(desk, "100GiB")

    def test_the_job_and_its_dry_run_tell_of_the_share(self, api):
        """`share` and `gpu_memory` come back as asked."""
        spec = {"command": ["true"], "workdir": "/", "share": True, "gpu_memory": "20GiB"}
        assert api.post("/api/v1/jobs/dry-run", json=spec).json()["starts_now"]
        job = api.post("/api/v1/jobs", json=spec).json()
        assert (job["share"], job["gpu_memory"], job["gpus"]) == (True, 20 * GIB, 1)


class TestAudit:
    """A job that uses more than it declared is stopped; its neighbours are left alone."""

    def test_who_uses_more_is_stopped_with_both_figures(self, desk):
        """The outcome is `escaped`, the sentence tells what it used and what it declared."""
        share(desk)
        share(desk)
        desk.worker.running("1.1")
        desk.worker.running("2.1")
        desk.worker.processes[0] = [process("1.1", 24 * GIB), process("2.1", 20 * GIB, 78)]
        desk.worker.tell()
        assert (desk.state(1), desk.state(2)) == ("stopping", "running")
        desk.worker.processes.clear()
        desk.worker.ended("1.1", signal=15, code=None, cause="stopped", outcome=Outcome.ESCAPED)
        job = desk.job(1)
        assert (job.state, job.outcome) == ("failed", "escaped")
        assert "used 24.0 GiB of GPU 0 and had declared 20.0 GiB" in str(
            messages.decode(job.message)
        )

    def test_a_context_in_addition_to_the_declared_memory_is_allowed(self, desk):
        """Each process may take what CUDA itself needs on top."""
        share(desk)
        desk.worker.running("1.1")
        both = [process("1.1", 10 * GIB + CONTEXT_BYTES, pid) for pid in (77, 78)]
        desk.worker.processes[0] = both
        desk.worker.tell()
        assert desk.state(1) == "running"
        desk.worker.processes[0] = [*both, process("1.1", CONTEXT_BYTES + 1, 79)]
        desk.worker.tell()
        assert desk.state(1) == "stopping"

    def test_whole_gpus_are_not_measured(self, desk):
        """The holder of a whole GPU may fill it, whatever minimum memory it asked for."""
        desk.submit(gpus=1, gpu_memory="10GiB")
        desk.worker.running("1.1")
        desk.worker.processes[0] = [process("1.1", 79 * GIB)]
        desk.worker.tell()
        assert desk.state(1) == "running"

    def test_a_neighbour_is_neither_an_outsider_nor_a_leftover(self, desk):
        """Both processes have a lease on the GPU: no event tells of them."""
        share(desk)
        share(desk)
        desk.worker.processes[0] = [process("1.1", GIB), process("2.1", GIB, 78)]
        desk.worker.tell()
        assert not [kind for kind in desk.kinds() if kind.startswith("gpu.")]
        assert desk.state(share(desk)) == "starting"

    def test_nothing_more_is_placed_next_to_an_outsider(self, desk):
        """Jobs whose memory could grow at any time."""
        share(desk)
        desk.worker.processes[0] = [GpuProcess(pid=9, memory_bytes=GIB, user="bob")]
        desk.worker.tell()
        share(desk)
        assert {uuid: len(one) for uuid, one in cards(desk).items()} == {"GPU-0": 1, "GPU-1": 1}


class TestMap:
    """Several holders on one GPU."""

    def test_every_holder_is_shown_with_its_part(self, desk):
        """Oldest first; what each uses and leases, and what is left."""
        share(desk, name="one", time_limit="1h")
        share(desk, "30GiB", name="two")
        desk.worker.running("1.1")
        desk.worker.processes[0] = [process("1.1", 5 * GIB)]
        desk.worker.tell()
        card = show_box(desk.server).gpus[0]
        assert [(h.job_id, h.memory_bytes, h.memory_used_bytes) for h in card.holders] == [
            (1, 20 * GIB, 5 * GIB),
            (2, 30 * GIB, 0),
        ]
        assert card.memory_leased_bytes == 50 * GIB
        assert card.holder.job_id == 1
        assert "30.0 GiB left to share" in card.holder.sentence
        assert card.holders[0].until is not None

    def test_a_whole_gpu_has_one_holder_and_a_free_one_none(self, desk):
        """`holders` agrees with `holder`."""
        desk.submit(gpus=1)
        first, second = show_box(desk.server).gpus[:2]
        assert [h.job_id for h in first.holders] == [1]
        assert first.memory_leased_bytes is None
        assert second.holders == []

    def test_a_share_counts_as_its_part_of_the_gpu(self, api, desk, tmp_path, open_desk):
        """
        In the summary of a user, in what counts for fair share and budgets, and in an
        ablation's GPU-hours; while it runs, afterwards, and after a restart.
        """
        spec = {"command": ["true"], "workdir": "/", "share": True, "gpu_memory": "20GiB"}
        cells = [{"values": {"seed": str(n)}, "job": {**spec, "name": f"s{n}"}} for n in (1, 2)]
        made = api.post("/api/v1/ablations", json={"name": "small", "cells": cells})
        assert made.status_code == 201, made.text

        def shown() -> list[float]:
            (me,) = api.get("/api/v1/users").json()["users"]
            caps = api.get("/api/v1/ablations/small").json()["caps"]
            (used,), _ = (
                list(part.values())
                for part in desk.server.usage.by_user_and_group(
                    desk.server.cache, desk.clock.now, desk.server.groups.of
                )
            )
            hours = used.budget_gpu_s / 3600
            return [me["gpus"], me["gpu_hours_7d"], caps["used_gpu_hours"], hours]

        desk.clock.now += 3600
        assert shown() == pytest.approx([0.5, 0.5, 0.5, 0.5])
        desk.worker.tell()
        for attempt in ("1.1", "2.1"):
            desk.worker.ended(attempt)
        assert shown() == pytest.approx([0, 0.5, 0.5, 0.5])
        with open_desk(tmp_path, desk.clock) as again:
            (used,) = again.server.usage.by_user_and_group(
                again.server.cache, desk.clock.now, again.server.groups.of
            )[0].values()
            assert used.budget_gpu_s == pytest.approx(1800)


class TestLimits:
    """Number of GPUs that a share counts for."""

    def test_four_quarters_are_one_gpu(self, tmp_path, open_desk):
        """The fifth waits, and its reason counts in parts; a whole GPU waits from the first."""
        policy = PolicySettings(user_limits=Limits(running_gpus=1))
        with open_desk(tmp_path, policy=policy) as desk:
            desk.worker.tell()
            first = share(desk)
            whole = desk.submit(gpus=1)
            assert "holds 0.25 GPUs and may hold 1" in desk.explain(whole)
            others = [share(desk) for _ in range(4)]
            shown = [desk.state(job) for job in (first, *others)]
            assert shown == ["starting"] * 4 + ["queued"]
            desk.worker.ended(f"{first}.1")
            assert desk.state(others[-1]) == "starting"

    def test_thirds_of_a_gpu_add_up_to_a_gpu(self, tmp_path, open_desk):
        """Whatever floating point makes of them."""
        policy = PolicySettings(user_limits=Limits(running_gpus=1))
        with open_desk(tmp_path, policy=policy) as desk:
            desk.worker.memory_bytes = 141 * GIB
            desk.worker.tell()
            jobs = [share(desk, "47GiB") for _ in range(3)]
            assert [desk.state(job) for job in jobs] == ["starting"] * 3


def test_shares_make_room_for_a_more_urgent_gang(desk):
    """All of a GPU's, when all may be stopped; both are queued again."""
    low = [share(desk, preemptible=True, priority=-1) for _ in range(2)]
    for job in low:
        desk.worker.running(f"{job}.1")
    gang = desk.submit(gpus=8, priority=5)
    assert [desk.state(job) for job in low] == ["stopping"] * 2
    for job in low:
        desk.worker.ended(f"{job}.1", None, signal=15, cause="stopped")
    assert [desk.state(job) for job in (*low, gang)] == ["queued", "queued", "starting"]


class TestSchema:
    """Constraints of the database itself."""

    @pytest.fixture
    def lease(self, desk):
        """Try to lease GPU-0: whole, or so many GiB of it, for a job of its own."""
        for _ in range(4):
            desk.submit(gpus=0)

        def attempt(job: int, gib: int | None, uuid: str = "GPU-0") -> None:
            with desk.server.db.write(now=0.0) as tx:
                tx.execute(
                    "INSERT INTO leases (gpu_uuid, job_id, number, memory_bytes, acquired_at) "
                    "VALUES (?, ?, 1, ?, 0)",
                    (uuid, job, None if gib is None else gib * GIB),
                )

        return attempt

    def test_a_whole_lease_excludes_shares_and_the_other_way_round(self, lease):
        """Whichever came first stands."""
        lease(1, None)
        with pytest.raises(sqlite3.IntegrityError, match="leased whole cannot be shared"):
            lease(2, 10)
        lease(2, 10, "GPU-1")
        with pytest.raises(sqlite3.IntegrityError, match="shares cannot be leased whole"):
            lease(3, None, "GPU-1")

    def test_shares_never_exceed_the_gpu(self, lease):
        """80 GiB are full; one GiB more is refused, also on an unknown GPU."""
        lease(1, 50)
        lease(2, 30)
        with pytest.raises(sqlite3.IntegrityError, match="exceed the memory"):
            lease(3, 1)
        with pytest.raises(sqlite3.IntegrityError, match="exceed the memory"):
            lease(3, 1, "GPU-unknown")

    def test_an_attempt_with_a_share_holds_nothing_else(self, lease):
        """No gang has a share among its GPUs."""
        lease(1, 10)
        for gib in (10, None):
            with pytest.raises(sqlite3.IntegrityError, match="holds nothing else"):
                lease(1, gib, "GPU-1")

    def test_a_lease_is_released_and_never_changed(self, lease, desk):
        """It neither grows nor comes back."""
        lease(1, 10)
        for change in ("memory_bytes = 1", "released_at = NULL", "gpu_uuid = 'GPU-1'"):
            with (
                pytest.raises(sqlite3.IntegrityError, match="never changed"),
                desk.server.db.write(now=0.0) as tx,
            ):
                tx.execute(f"UPDATE leases SET {change}")

    def test_a_job_with_a_share_says_how_much_of_one_gpu(self, desk):
        """Whatever the code above writes."""
        desk.submit(gpus=1)
        with (
            pytest.raises(sqlite3.IntegrityError, match="ck_jobs_share"),
            desk.server.db.write(now=0.0) as tx,
        ):
            tx.execute(
                "UPDATE jobs SET spec = json_set(spec, '$.share', json('true')) WHERE id = 1"
            )


def test_a_cancelled_share_frees_its_part(desk):
    """Through the stop, the end, and the look that shows its memory gone."""
    share(desk, "80GiB")
    desk.worker.running("1.1")
    on_cancel(desk.server, ME, 1)
    desk.worker.ended("1.1", None, signal=15, cause="stopped")
    assert not cards(desk)
