"""Broken GPUs and a broken driver are reported; nothing crashes and nothing hangs."""

from __future__ import annotations

import time

import pytest

GIB = 1024**3
MIB = 1024**2


def healthy(snapshot) -> list[bool]:
    """Health of the GPUs, in index order."""
    return [gpu.health.ok for gpu in snapshot.gpus]


def test_a_gpu_falls_off_the_bus_and_comes_back(nvml, box, tmp_path):
    """A lost GPU stays in the list as unhealthy with all that is known of it, until it answers."""
    box.put(3, 4_190_000, GIB)
    box.write()
    nvml.open(tmp_path)
    before = nvml.snapshot().gpus[3]

    box.gpus[3]["lost"] = 1
    box.write()
    lost = nvml.until(lambda s: not s.gpus[3].health.ok, "GPU 3 is unhealthy")

    assert healthy(lost) == [True, True, True, False, True, True, True, True]
    assert lost.gpus[3].health.problems == ("The GPU has fallen off the bus; reboot the box.",)
    assert lost.gpus[3].processes == ()
    assert lost.gpus[3].utilization_percent is None
    for field in ("uuid", "minor", "pci_bus_id", "name", "memory_total_bytes"):
        assert getattr(lost.gpus[3], field) == getattr(before, field)

    box.gpus[3]["lost"] = 0
    box.write()
    back = nvml.until(lambda s: s.gpus[3].health.ok, "GPU 3 is back")
    assert [p.pid for p in back.gpus[3].processes] == [4_190_000]


def test_a_gpu_that_is_lost_from_the_start(nvml, box, tmp_path):
    """A GPU that never answered is listed as unhealthy among the seven others."""
    box.gpus[2]["lost"] = 1
    box.write()
    nvml.open(tmp_path)

    snapshot = nvml.snapshot()

    assert healthy(snapshot) == [True, True, False, True, True, True, True, True]
    assert len({gpu.uuid for gpu in snapshot.gpus}) == 8
    assert snapshot.links[2][3] == "SYS"


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"ecc": 1}, "1 uncorrectable memory error since"),
        ({"ecc": 12}, "12 uncorrectable memory errors since"),
        ({"pending": 1}, "wait to be replaced"),
        ({"failed": 1}, "exchanged"),
        ({"retired": 1}, "wait to be retired"),
        ({"recovery": 1}, "asks for recovery"),
        ({"recovery": 2}, "asks for a reboot"),
    ],
)
def test_what_a_gpu_says_is_wrong_with_it(nvml, box, tmp_path, facts, part):
    """ECC errors, rows and pages to be replaced, recovery: unhealthy, with the fix."""
    nvml.open(tmp_path)
    assert healthy(nvml.snapshot()) == [True] * 8

    box.gpus[6] |= facts
    box.write()
    snapshot = nvml.until(lambda s: not s.gpus[6].health.ok, "GPU 6 is unhealthy")

    assert healthy(snapshot) == [True] * 6 + [False, True]
    (problem,) = snapshot.gpus[6].health.problems
    assert part in problem


def test_a_serious_xid_is_reported_at_once(nvml, box, tmp_path):
    """A serious Xid makes the GPU unhealthy and calls back, without waiting for a snapshot."""
    nvml.open(tmp_path, driver___HEALTH_S=1000, driver___IDLE_S=1000)

    box.add("xid 4 79")
    box.write()
    deadline = time.monotonic() + 10
    while nvml.ask("changes") == 0 and time.monotonic() < deadline:
        pass
    snapshot = nvml.snapshot()

    assert healthy(snapshot) == [True] * 4 + [False] + [True] * 3
    assert snapshot.gpus[4].health.problems == (
        "Xid 79: the GPU has fallen off the bus; reboot the box.",
    )


def test_an_xid_of_a_program_leaves_the_gpu_healthy(nvml, box, tmp_path):
    """An error of a user's faulty kernel (Xid 31) does not make the GPU unhealthy."""
    nvml.open(tmp_path)

    box.add("xid 4 31")
    box.add("xid 5 119")
    box.write()
    snapshot = nvml.until(lambda s: not s.gpus[5].health.ok, "the second event has come in")

    assert snapshot.gpus[4].health.ok


def test_the_driver_goes_and_comes_back(nvml, box, tmp_path):
    """With the driver gone every GPU is unhealthy; when it is back so are they."""
    nvml.open(tmp_path)
    assert all(healthy(nvml.snapshot()))

    box.add("gone 1")
    box.write()
    gone = nvml.until(lambda s: not any(healthy(s)), "all are unhealthy")
    assert [gpu.uuid for gpu in gone.gpus] == box.uuids
    assert all("driver" in gpu.health.problems[0] for gpu in gone.gpus)

    box.lines.remove("gone 1")
    box.write()
    nvml.until(lambda s: all(healthy(s)), "all are healthy again")


def test_a_gpu_is_gone_when_the_driver_comes_back(nvml, box, tmp_path):
    """A GPU that a reloaded driver no longer lists stays, unhealthy and behind the others."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.add("gone 1")
    box.write()
    nvml.until(lambda s: not any(healthy(s)), "all are unhealthy")

    box.lines.remove("gone 1")
    box.gpus[1]["present"] = 0
    box.write()
    snapshot = nvml.until(lambda s: sum(healthy(s)) == 7, "seven are back")

    assert [gpu.uuid for gpu in snapshot.gpus] == [u for u in box.uuids if u != box.uuids[1]] + [
        box.uuids[1]
    ]
    assert [gpu.index for gpu in snapshot.gpus] == list(range(8))
    assert "no longer lists" in snapshot.gpus[7].health.problems[0]
    assert len(snapshot.links) == 8


def test_a_gpu_is_lost_when_the_driver_comes_back(nvml, box, tmp_path):
    """A GPU that no longer reports its name keeps the one it had, and is itself when it answers."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.add("gone 1")
    box.write()
    nvml.until(lambda s: not any(healthy(s)), "all are unhealthy")

    box.lines.remove("gone 1")
    box.gpus[1]["lost"] = 1
    box.write()
    snapshot = nvml.until(lambda s: sum(healthy(s)) == 7, "seven are back")
    assert [gpu.uuid for gpu in snapshot.gpus] == box.uuids
    assert healthy(snapshot) == [i != 1 for i in range(8)]

    box.gpus[1]["lost"] = 0
    box.write()
    snapshot = nvml.until(lambda s: all(healthy(s)), "all are back")
    assert [gpu.uuid for gpu in snapshot.gpus] == box.uuids


def test_a_nameless_gpu_gets_its_name(nvml, box, tmp_path):
    """A GPU that was lost from the start is listed once, also after the driver was reloaded."""
    box.gpus[2]["lost"] = 1
    box.write()
    nvml.open(tmp_path)
    nvml.snapshot()
    box.add("gone 1")
    box.write()
    nvml.until(lambda s: not any(healthy(s)), "all are unhealthy")

    box.lines.remove("gone 1")
    box.gpus[2]["lost"] = 0
    box.write()
    snapshot = nvml.until(lambda s: all(healthy(s)), "all are well")

    assert [gpu.uuid for gpu in snapshot.gpus] == box.uuids


def test_a_driver_that_does_not_answer(nvml, box, tmp_path):
    """A driver that hangs costs a bounded wait once; then every GPU is unhealthy until it answers."""
    nvml.open(tmp_path, devices___PATIENCE_S=0.2)
    nvml.snapshot()
    box.add("slow nvmlDeviceGetMemoryInfo_v2 400")
    box.write()

    nvml.until(lambda s: not any(healthy(s)), "all are unhealthy")
    began = time.monotonic()
    stuck = nvml.snapshot()
    assert time.monotonic() - began < 0.15
    assert "has not answered" in stuck.gpus[0].health.problems[0]
    assert nvml.ask("clear", uuids=box.uuids, pids=[]) is False

    box.lines = [line for line in box.lines if not line.startswith("slow")]
    box.write()
    nvml.until(lambda s: all(healthy(s)), "all are healthy again")


def test_closing_does_not_wait_for_a_stuck_driver(nvml, box, tmp_path):
    """`close` returns although the driver holds its caller."""
    nvml.open(tmp_path, devices___PATIENCE_S=0.2)
    box.add("slow nvmlDeviceGetMemoryInfo_v2 1000")
    box.write()
    nvml.snapshot()

    assert nvml.ask("close") < 1.0

    box.lines = [line for line in box.lines if not line.startswith("slow")]
    box.write()


def test_no_driver_is_refused_with_the_fix(nvml, box, tmp_path):
    """BERTH_GPUS=nvml waits for a driver that is installed but not loaded."""
    box.add("init 9")
    box.write()
    assert nvml.open(tmp_path) == {"source": "nvml"}
    assert nvml.snapshot().gpus == ()

    box.lines.remove("init 9")
    box.write()
    snapshot = nvml.until(lambda s: s.gpus, "the driver has been loaded")
    assert all(healthy(snapshot))


def test_auto_takes_real_gpus_where_they_are(nvml, tmp_path):
    """`auto` is NVML when it shows a GPU."""
    assert nvml.open(tmp_path, setting="auto") == {"source": "nvml"}


def test_auto_without_a_gpu_is_simulated(nvml, box, tmp_path):
    """`auto` is simulated when the driver has no GPU and none is on the bus."""
    from berth_worker.devices import pci

    if pci.nvidia_gpus():
        pytest.skip("an NVIDIA GPU is on this box's bus: auto waits for it, rightly")
    for gpu in box.gpus:
        gpu["present"] = 0
    box.write()

    assert nvml.open(tmp_path, setting="auto") == {"source": "simulated"}
