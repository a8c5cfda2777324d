"""Readings of healthy GPUs, from NVML to the snapshot."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from datetime import timedelta

import pytest

from berth.protocol.base import utc_now

GIB = 1024**3
MIB = 1024**2


@pytest.fixture
def sleeper():
    """A process of ours that does nothing until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        yield process
        process.communicate(b"\n")


def test_every_fact_of_eight_gpus(nvml, box, tmp_path):
    """Each value of the driver is in the snapshot, in the unit its field promises."""
    box.gpus[3] |= {"utilization": 87, "power": 512_345}
    box.put(3, 4_000_000, 31 * GIB)
    box.write()

    assert nvml.open(tmp_path) == {"source": "nvml"}
    snapshot = nvml.snapshot()

    assert snapshot.source == "nvml"
    assert snapshot.driver_version == "580.65.06"
    assert [g.uuid for g in snapshot.gpus] == box.uuids
    assert [g.index for g in snapshot.gpus] == list(range(8))
    assert [g.minor for g in snapshot.gpus] == [7 - index for index in range(8)]
    assert [g.pci_bus_id for g in snapshot.gpus] == [g["bus"] for g in box.gpus]
    assert {g.name for g in snapshot.gpus} == {"NVIDIA H100 80GB HBM3"}
    assert {g.memory_total_bytes for g in snapshot.gpus} == {81_559 * MIB}
    gpu = snapshot.gpus[3]
    assert gpu.memory_used_bytes == 31 * GIB + 3 * MIB
    assert gpu.utilization_percent == 87
    assert gpu.temperature_c == 33
    assert gpu.power_w == pytest.approx(512.345)
    assert gpu.power_limit_w == 700
    assert not gpu.mig
    assert all(g.health.ok and not g.health.problems for g in snapshot.gpus)
    assert snapshot.host_memory_total_bytes > snapshot.host_memory_available_bytes > 0
    assert utc_now() - snapshot.taken_at < timedelta(seconds=10)


def test_dear_values_follow_their_gpu(nvml, box, tmp_path):
    """A GPU that comes into use is read at once, and until it is quiet again."""
    nvml.open(tmp_path, driver___IDLE_S=1000)
    nvml.snapshot()

    box.put(3, 4_190_000, GIB)
    box.gpus[3] |= {"utilization": 99}
    box.write()
    nvml.until(lambda s: s.gpus[3].utilization_percent == 99, "the work shows")

    box.lines.remove(f"process 3 compute 4190000 {GIB}")
    box.gpus[3] |= {"utilization": 40, "used": 3 * MIB}
    box.write()
    nvml.until(lambda s: s.gpus[3].utilization_percent == 40, "the last of it shows")
    box.gpus[3] |= {"utilization": 0}
    box.write()
    nvml.until(lambda s: s.gpus[3].utilization_percent == 0, "it is quiet")


def test_process_of_a_stranger(nvml, box, tmp_path, sleeper):
    """An outsider is shown with pid, user, command, memory and start, and with no attempt."""
    box.put(5, sleeper.pid, 7 * GIB)
    box.write()
    nvml.open(tmp_path)

    (process,) = nvml.snapshot().gpus[5].processes

    assert process.pid == sleeper.pid
    assert process.memory_bytes == 7 * GIB
    assert process.user == pwd.getpwuid(os.getuid()).pw_name
    assert "input()" in process.command
    assert abs(utc_now() - process.started_at) < timedelta(minutes=1)
    assert process.attempt is None


def test_process_of_an_attempt(nvml, box, tmp_path, sleeper):
    """A process that the worker knows carries its attempt, on whatever GPU it is."""
    box.put(5, sleeper.pid, 7 * GIB)
    box.write()
    nvml.open(tmp_path)
    attempts = {"42.1": {"gpu_uuids": box.uuids[:2], "pids": [sleeper.pid]}}

    (process,) = nvml.snapshot(attempts=attempts).gpus[5].processes

    assert process.attempt == "42.1"


def test_pid_without_a_process(nvml, box, tmp_path):
    """A pid without a process here is shown all the same: the memory is taken."""
    box.put(0, 4_190_000, 2 * GIB)
    box.write()
    nvml.open(tmp_path)

    (process,) = nvml.snapshot().gpus[0].processes

    assert (process.pid, process.user, process.command) == (4_190_000, None, None)


def test_one_entry_for_a_process_in_several_lists(nvml, box, tmp_path):
    """A process that computes and draws is one process, and MPS clients are seen."""
    box.put(1, 4_190_000, GIB)
    box.put(1, 4_190_000, GIB, kind="graphics")
    box.put(1, 4_190_001, 2 * GIB, kind="mps")
    box.write()
    nvml.open(tmp_path)

    processes = nvml.snapshot().gpus[1].processes

    assert [(p.pid, p.memory_bytes) for p in processes] == [
        (4_190_000, GIB),
        (4_190_001, 2 * GIB),
    ]


def test_displays_are_no_outsiders(nvml, box, tmp_path, sleeper):
    """An Xorg with some memory is not listed; what draws with a gibibyte, or for an attempt, is."""
    box.put(0, 4_190_000, 4 * MIB, kind="graphics")
    box.put(1, 4_190_001, 600 * MIB, kind="graphics")
    box.put(1, 4_190_002, 500 * MIB, kind="graphics")
    box.put(2, sleeper.pid, 4 * MIB, kind="graphics")
    box.write()
    nvml.open(tmp_path)
    attempts = {"42.1": {"gpu_uuids": [box.uuids[7]], "pids": [sleeper.pid]}}

    gpus = nvml.snapshot(attempts=attempts).gpus

    assert gpus[0].processes == ()
    assert [p.pid for p in gpus[1].processes] == [4_190_001, 4_190_002]
    assert [p.attempt for p in gpus[2].processes] == ["42.1"]


def test_memory_that_the_driver_does_not_tell(nvml, box, tmp_path):
    """Process memory that the driver withholds is absent, not a number of 2^64."""
    box.add(f"process 1 compute 4190000 {2**64 - 1}")
    box.write()
    nvml.open(tmp_path)

    (process,) = nvml.snapshot().gpus[1].processes

    assert process.memory_bytes is None


def test_links_through_a_switch(nvml, tmp_path):
    """On a DGX every pair is joined by all links of a GPU."""
    nvml.open(tmp_path)

    links = nvml.snapshot().links

    assert [row[i] for i, row in enumerate(links)] == ["X"] * 8
    assert {name for i, row in enumerate(links) for j, name in enumerate(row) if i != j} == {"NV18"}


def test_links_of_bridges_and_bus(nvml, box, tmp_path):
    """Direct bridges count as NVLink; without one the common ancestor names the way."""
    box.lines = ["link 0 1 4", "link 1 0 4"]
    box.lines += ["near 0 2 10", "near 0 3 20", "near 0 4 30", "near 0 5 40", "near 0 6 50"]
    box.write()
    nvml.open(tmp_path)

    links = nvml.snapshot().links

    assert links[0] == ("X", "NV4", "PIX", "PXB", "PHB", "NODE", "SYS", "SYS")
    assert links[1][:2] == ("NV4", "X")


def test_mig_is_marked(nvml, box, tmp_path):
    """A GPU in MIG mode says so and keeps what the driver still reports."""
    box.gpus[2]["mig"] = 1
    box.write()
    nvml.open(tmp_path)

    gpu = nvml.snapshot().gpus[2]

    assert gpu.mig
    assert gpu.utilization_percent is None
    assert gpu.health.ok


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilization_percent"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_w"),
        ("nvmlDeviceGetMinorNumber", "minor"),
        ("nvmlDeviceGetPciInfo_v3", "pci_bus_id"),
    ],
)
@pytest.mark.parametrize("code", [3, 4, 13, 999])
def test_what_is_not_supported_is_absent(nvml, box, tmp_path, function, field, code):
    """Not supported, not permitted, not in the driver, unknown: absent, and the GPU is fine."""
    box.add(f"error {function} 4 {code}")
    box.write()
    nvml.open(tmp_path)

    snapshot = nvml.snapshot()

    assert getattr(snapshot.gpus[4], field) is None
    assert getattr(snapshot.gpus[5], field) is not None
    assert snapshot.gpus[4].health.ok


def test_a_driver_older_than_the_binding(old_nvml, tmp_path):
    """Without the newer functions the older ones answer."""
    host, box = old_nvml
    box.put(6, 4_190_000, 3 * GIB)
    box.write()

    assert host.open(tmp_path) == {"source": "nvml"}
    gpu = host.snapshot().gpus[6]

    assert [(p.pid, p.memory_bytes) for p in gpu.processes] == [(4_190_000, 3 * GIB)]
    # Version 1 counts what the driver keeps for itself.
    assert gpu.memory_used_bytes == 3 * GIB + 523 * MIB


def test_in_a_container(contained_nvml, tmp_path):
    """Pids of another namespace are not mistaken for processes of ours."""
    host, box = contained_nvml
    box.put(1, 1, 3 * GIB)
    box.put(2, 1, 5 * GIB)
    box.write()
    host.open(tmp_path)
    attempts = {"42.1": {"gpu_uuids": [box.uuids[1]], "pids": []}}

    gpus = host.snapshot(attempts=attempts).gpus

    (leased,), (other,) = gpus[1].processes, gpus[2].processes
    assert (leased.attempt, leased.user, leased.command) == ("42.1", None, None)
    assert (other.attempt, other.user, other.command) == (None, None, None)
    # Whose it is cannot be known, so the lease waits until no process is there.
    assert host.ask("clear", uuids=[box.uuids[1]], pids=[]) is False
    assert host.ask("clear", uuids=[box.uuids[3]], pids=[]) is True


def test_in_a_container_whose_driver_translates(contained_nvml, tmp_path):
    """A pid whose process has NVIDIA's files open is that process, also in a container."""
    host, box = contained_nvml
    nodes = tmp_path / "nvidia0"
    nodes.touch()
    pid = host.ask("hold", path=str(nodes))
    box.put(1, pid, 3 * GIB)
    box.put(2, pid, 5 * GIB)
    box.write()
    host.open(tmp_path, pids___NODES=str(tmp_path / "nvidia"))
    attempts = {"42.1": {"gpu_uuids": [box.uuids[1]], "pids": [pid]}}

    strangers = host.snapshot().gpus
    gpus = host.snapshot(attempts=attempts).gpus

    for index in (1, 2):
        (process,) = gpus[index].processes
        assert (process.pid, process.attempt) == (pid, "42.1")
        assert "sys.stdin.read()" in process.command
        assert strangers[index].processes[0].attempt is None
    assert host.ask("clear", uuids=[box.uuids[1]], pids=[pid]) is False
    # A stranger that is known to be one does not keep the lease.
    assert host.ask("clear", uuids=[box.uuids[1]], pids=[]) is True
