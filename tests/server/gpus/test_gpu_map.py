"""The map of the box: who is on which GPU, and what that means for the queue."""

from __future__ import annotations

import pytest

from berth.protocol.gpus import GpuProcess
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import NotFound
from berth_server.service.gpus.drain import on_drain, on_undrain
from berth_server.service.gpus.gpu_map import show_box

ROOT = Caller(0, "root")
GIB = 1 << 30


def outsider(pid: int = 4242) -> GpuProcess:
    return GpuProcess(pid=pid, user="bob", command="python train.py", memory_bytes=31 * GIB)


def holder(desk, index: int):
    return show_box(desk.server).gpus[index].holder


def test_an_outsider_is_named_and_nothing_is_placed_on_it(desk):
    """With user, pid, command and memory; when it leaves the GPU is used at once."""
    desk.worker.processes[0] = [outsider()]
    desk.worker.tell()
    found = holder(desk, 0)
    assert (found.kind, found.user, found.pids) == ("outsider", "bob", (4242,))
    for word in ("4242", "bob", "python train.py", "31.0 GiB"):
        assert word in found.sentence
    desk.submit(gpus=7)
    waiting = desk.submit(gpus=1)
    assert "GPU-0" not in desk.held()
    assert desk.state(waiting) == "queued"
    assert desk.kinds().count("gpu.outsider") == 1
    desk.worker.processes.clear()
    desk.worker.tell()
    assert desk.state(waiting) == "starting"
    assert desk.kinds()[-2:] == ["gpu.outsider_left", "job.starting"]


def test_an_outsider_on_a_leased_gpu_raises_an_event_and_the_job_stays(desk):
    """The map shows both."""
    desk.submit(gpus=8)
    desk.worker.running("1.1")
    desk.worker.processes[3] = [GpuProcess(pid=1, attempt="1.1"), outsider()]
    desk.worker.tell()
    found = holder(desk, 3)
    assert (found.kind, found.job_id, found.pids) == ("job", 1, (1,))
    assert "4242" in found.sentence
    assert desk.kinds()[-1] == "gpu.outsider"
    assert desk.state(1) == "running"
    (beside,) = show_box(desk.server).gpus[3].beside
    assert (beside.kind, beside.user, beside.pids) == ("outsider", "bob", (4242,))
    assert "4242" in beside.sentence
    assert show_box(desk.server).gpus[2].beside == []


def test_a_job_outside_its_lease_is_stopped_as_escaped(desk):
    """The server tells the worker to stop it; its end carries the outcome."""
    desk.submit(gpus=1)
    desk.worker.running("1.1")
    desk.worker.processes[5] = [GpuProcess(pid=77, attempt="1.1")]
    desk.worker.tell()
    (wanted,) = desk.server.cache.desired_state().attempts
    assert (wanted.action, wanted.stop_reason) == ("stop", "escaped")
    assert desk.state(1) == "stopping"
    desk.worker.processes.clear()
    desk.worker.ended("1.1", None, signal=15, cause="stopped")
    assert (desk.state(1), desk.job(1).outcome) == ("failed", "escaped")


@pytest.mark.parametrize(
    "attempt", ["9" * 5000 + ".1", "1." + "9" * 5000, "²", "1.²", "1", "-1.1", ""]
)
def test_a_report_is_taken_whatever_a_process_says_of_itself(desk, attempt):
    """Anybody may run a process on a GPU that names an attempt; the report of all others comes in."""
    desk.worker.processes[3] = [GpuProcess(pid=77, attempt=attempt)]
    desk.worker.tell()
    desk.submit(gpus=1)
    desk.worker.ended("1.1")
    assert desk.state(1) == "succeeded"


def test_a_leftover_keeps_its_gpu_from_others(desk):
    """A process of an ended attempt that a later look still shows."""
    desk.submit(gpus=1)
    desk.worker.ended("1.1")
    desk.clock.now += 1
    desk.worker.processes[0] = [GpuProcess(pid=9, attempt="1.1")]
    desk.worker.tell()
    assert holder(desk, 0).kind == "leftover"
    desk.submit(gpus=1)
    assert "GPU-0" not in desk.held()


def test_a_look_from_before_the_release_does_not_delay_the_next_job(desk):
    """A released attempt in an old snapshot is ignored."""
    desk.submit(gpus=8)
    second = desk.submit(gpus=8)
    desk.worker.processes = {i: [GpuProcess(pid=i + 1, attempt="1.1")] for i in range(8)}
    desk.worker.used_bytes = dict.fromkeys(range(8), 30 * GIB)
    desk.worker.running("1.1")
    desk.worker.ended("1.1")
    assert desk.state(second) == "starting"


def test_memory_of_a_process_that_cannot_be_seen_counts_as_an_outsider(desk):
    """As in a container, where pids of others are hidden."""
    desk.worker.used_bytes[2] = 20 * GIB
    desk.worker.tell()
    assert holder(desk, 2).kind == "outsider"
    assert "20.0 GiB" in holder(desk, 2).sentence
    desk.submit(gpus=7)
    assert "GPU-2" not in desk.held()


def test_a_sick_gpu_is_not_used_and_its_state_has_events(desk):
    """Both when it falls ill and when it is well again."""
    desk.worker.unhealthy[1] = "Xid 79: the GPU has fallen off the bus."
    desk.worker.tell()
    assert holder(desk, 1).kind == "unhealthy"
    assert "Xid 79" in holder(desk, 1).sentence
    waiting = desk.submit(gpus=8)
    assert desk.state(waiting) == "queued"
    desk.worker.unhealthy.clear()
    desk.worker.tell()
    assert desk.state(waiting) == "starting"
    kinds = desk.kinds()
    assert kinds.index("gpu.unhealthy") < kinds.index("gpu.healthy")


def test_a_drained_gpu_gets_no_new_job_and_keeps_its_old_one(desk, tmp_path):
    """Until it is undrained; the drain is kept over restarts, with its reason."""
    desk.submit(gpus=1)
    on_drain(desk.server, ROOT, "0", "fan is loud")
    on_drain(desk.server, ROOT, "GPU-1", None)
    assert desk.state(1) == "starting"
    waiting = desk.submit(gpus=7)
    assert desk.state(waiting) == "queued"
    shown = show_box(desk.server).gpus[0]
    assert (shown.draining, shown.drain_reason) == (True, "fan is loud")
    on_undrain(desk.server, ROOT, "GPU-1")
    assert desk.state(waiting) == "starting"
    with pytest.raises(NotFound, match="GPU-99"):
        on_drain(desk.server, ROOT, "GPU-99", None)
    assert desk.server.db.read.value("SELECT reason FROM drains") == "fan is loud"


def test_a_box_whose_worker_is_silent_is_stale(desk):
    """Held GPUs keep their holder, the others are unknown."""
    desk.submit(gpus=1)
    desk.clock.now += 11
    box = show_box(desk.server)
    assert box.stale
    assert [gpu.holder.kind for gpu in box.gpus[:2]] == ["job", "unknown"]


def test_the_box_is_reported_in_a_sentence(desk):
    """Number of free GPUs or, if there are none, the time of the next one."""
    assert show_box(desk.server).sentence == "8 of 8 GPUs free"
    desk.submit(gpus=8, time_limit="40m")
    desk.worker.running("1.1")
    assert "next free GPU in 40m at the latest" in show_box(desk.server).sentence


def test_a_gpu_that_vanishes_is_not_placed_on(desk):
    """And the box's size follows, for submits to come."""
    desk.worker.gpus = 6
    desk.worker.tell()
    assert len(show_box(desk.server).gpus) == 6
    assert [gpu.index for gpu in desk.server.known_gpus] == list(range(6))
