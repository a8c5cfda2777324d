"""Simulated GPUs: steady facts, running attempts, outsiders and faults on demand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.protocol.gpus import BoxSnapshot
from berth_worker.devices import AttemptProcesses, Devices, DevicesError, detect_devices
from berth_worker.devices.models import MODELS

GIB = 1024**3
# A launcher with ranks: starts one child for each argument, "LOCAL_RANK:CUDA_VISIBLE_DEVICES".
LAUNCHER = """
import os, subprocess, sys
wait = "import sys; sys.stdin.read()"
ranks = []
for argument in sys.argv[1:]:
    rank, visible = argument.split(":")
    env = {**os.environ, "LOCAL_RANK": rank, "CUDA_VISIBLE_DEVICES": visible}
    ranks.append(subprocess.Popen([sys.executable, "-c", wait], env=env, stdin=sys.stdin))
print(" ".join(str(r.pid) for r in ranks), flush=True)
sys.stdin.read()
for rank in ranks:
    rank.wait()
"""
BUSY = "print(flush=True)\nwhile True: pass"


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes of an attempt; they end with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: str, attempt: str = "42.1", **variables: str):
        job, number = attempt.split(".")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BERTH_", "CUDA_"))}
        kept |= {"BERTH_ATTEMPT": attempt, "BERTH_RUN_DIR": str(tmp_path / "runs" / job / number)}
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=kept | variables,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def devices(tmp_path) -> Devices:
    """Eight H100s."""
    return detect_devices("sim:8", tmp_path)


def lease(devices: Devices, *indices: int, pids=(), attempt: str = "42.1"):
    """The worker's knowledge of an attempt on these GPUs."""
    gpus = devices.snapshot({}).gpus
    uuids = tuple(gpus[i].uuid for i in indices)
    return {attempt: AttemptProcesses(attempt, uuids, frozenset(pids))}


def where(snapshot: BoxSnapshot) -> dict[int, set[int]]:
    """The pids on each GPU that has some."""
    return {g.index: {p.pid for p in g.processes} for g in snapshot.gpus if g.processes}


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so: {what}")
        time.sleep(0.01)


def seen(devices: Devices, attempts, expected: dict[int, set[int]]) -> BoxSnapshot:
    """Wait until the processes are where they are expected: an exec takes a moment to show."""
    snapshot = devices.snapshot(attempts)
    deadline = time.monotonic() + 20
    while where(snapshot) != expected and time.monotonic() < deadline:
        snapshot = devices.snapshot(attempts)
    assert where(snapshot) == expected
    return snapshot


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 64), model=st.sampled_from(sorted(MODELS)))
def test_any_number_of_any_model(tmp_path_factory, count, model):
    """Every box that may be asked for is whole: distinct GPUs, a square matrix, idle, well."""
    devices = detect_devices(f"sim:{count}x{model}", tmp_path_factory.getbasetemp())

    snapshot = devices.snapshot({})

    gpus = snapshot.gpus
    assert snapshot.source == devices.source == "simulated"
    assert [g.index for g in gpus] == list(range(count))
    assert len({g.uuid for g in gpus}) == len({g.pci_bus_id for g in gpus}) == count
    assert all(a.pci_bus_id < b.pci_bus_id for a, b in pairwise(gpus))
    assert {g.memory_total_bytes for g in gpus} == {MODELS[model].memory_bytes}
    assert all(g.health.ok and not g.processes and g.memory_used_bytes == 0 for g in gpus)
    assert {g.numa_node for g in gpus} == ({0, 1} if count > 1 else {0})
    links = snapshot.links
    assert len(links) == count
    for a in range(count):
        assert links[a][a] == "X"
        assert all(links[a][b] == links[b][a] for b in range(count))
    # Also on the wire.
    assert BoxSnapshot.model_validate_json(snapshot.model_dump_json()).gpus == gpus


def test_the_same_gpus_at_every_start(tmp_path):
    """UUIDs stay over restarts and differ between models, as with real GPUs."""
    once = [g.uuid for g in detect_devices("sim:8", tmp_path).snapshot({}).gpus]
    again = [g.uuid for g in detect_devices("sim:8xH100-80GB", tmp_path).snapshot({}).gpus]
    other = [g.uuid for g in detect_devices("sim:8xA100-40GB", tmp_path).snapshot({}).gpus]

    assert once == again
    assert not set(once) & set(other)


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("sim:0", "between 1 and 64"),
        ("sim:65", "between 1 and 64"),
        ("sim:8xGT710", "the model is one of A100-40GB"),
        ("8", "write auto, nvml, sim:8"),
        ("cuda", "write auto, nvml, sim:8"),
        ("sim:x", "write auto, nvml, sim:8"),
    ],
)
def test_settings_that_mean_nothing(tmp_path, setting, part):
    """A setting that is not understood is refused with what may be written."""
    with pytest.raises(DevicesError, match=part) as refusal:
        detect_devices(setting, tmp_path)

    assert f"BERTH_GPUS={setting}" in str(refusal.value)


@pytest.mark.parametrize("setting", ["sim", "SIM:8", " sim:8 ", "sim:8xh100", "sim:8xH100-80gb"])
def test_settings_may_be_written_freely(tmp_path, setting):
    """Case, blanks and the memory of a model do not matter."""
    gpus = detect_devices(setting, tmp_path).snapshot({}).gpus

    assert [g.name for g in gpus] == ["NVIDIA H100 80GB HBM3"] * 8


def test_ranks_sit_on_their_gpus(devices, start):
    """Each rank of an attempt is on the GPU that its environment gives it, its helpers nowhere."""
    launcher = start(LAUNCHER, "0:4,5,6,7", "1:4,5,6,7", "2:4,5,6,7", "3:4,5,6,7")
    ranks = [int(pid) for pid in launcher.stdout.readline().split()]

    attempts = lease(devices, 4, 5, 6, 7, pids=[launcher.pid])

    snapshot = seen(devices, attempts, {4 + i: {pid} for i, pid in enumerate(ranks)})
    (process,) = snapshot.gpus[4].processes
    assert process.attempt == "42.1"
    assert process.memory_bytes > 0
    assert process.memory_bytes == snapshot.gpus[4].memory_used_bytes
    assert process.user
    assert "sys.stdin.read()" in process.command


def test_ranks_that_left_their_lease_are_seen(devices, start):
    """A launcher that takes GPUs 0 and 1 whatever the lease says shows up there."""
    launcher = start(LAUNCHER, "0:0,1", "1:0,1")
    ranks = [int(pid) for pid in launcher.stdout.readline().split()]

    seen(
        devices,
        lease(devices, 6, 7, pids=[launcher.pid]),
        {0: {ranks[0]}, 1: {ranks[1]}},
    )


@pytest.mark.parametrize("visible", ["", "GPU-1234", "NoDevFiles"])
def test_an_environment_that_says_nothing(devices, start, visible):
    """If the variable is of no use, the lease says where the ranks are."""
    launcher = start(LAUNCHER, f"0:{visible}", f"1:{visible}")
    ranks = [int(pid) for pid in launcher.stdout.readline().split()]

    seen(
        devices,
        lease(devices, 2, 3, pids=[launcher.pid]),
        {2: {ranks[0]}, 3: {ranks[1]}},
    )


def test_a_plain_program_is_on_its_whole_lease(devices, start):
    """A program without ranks shows on every GPU it holds."""
    process = start("print(flush=True); input()")
    process.stdout.readline()

    snapshot = devices.snapshot(lease(devices, 1, 5, pids=[process.pid]))

    assert where(snapshot) == {1: {process.pid}, 5: {process.pid}}


def test_two_attempts_do_not_mix(devices, start):
    """Every process carries its own attempt."""
    one = start("print(flush=True); input()", attempt="1.1")
    two = start("print(flush=True); input()", attempt="2.1")
    one.stdout.readline()
    two.stdout.readline()
    attempts = lease(devices, 0, pids=[one.pid], attempt="1.1")
    attempts |= lease(devices, 1, pids=[two.pid], attempt="2.1")

    snapshot = devices.snapshot(attempts)

    assert [p.attempt for p in snapshot.gpus[0].processes] == ["1.1"]
    assert [p.attempt for p in snapshot.gpus[1].processes] == ["2.1"]


def test_a_busy_attempt_warms_its_gpu(devices, start):
    """Utilisation follows the work done between two looks; power and temperature follow it."""
    process = start(BUSY)
    process.stdout.readline()
    attempts = lease(devices, 3, pids=[process.pid])
    idle = devices.snapshot(attempts).gpus[3]

    def warm() -> bool:
        gpu = devices.snapshot(attempts).gpus[3]
        return (
            gpu.utilization_percent > 10
            and gpu.power_w > idle.power_w
            and gpu.temperature_c > idle.temperature_c
        )

    until(warm, "the GPU is busy")
    assert devices.snapshot(attempts).gpus[4].utilization_percent == 0


def test_clear_when_the_processes_are_gone(devices, start):
    """Not clear while a pid lives; clear when all have ended, whatever else is there."""
    process = start("input()")
    uuids = [g.uuid for g in devices.snapshot({}).gpus[:2]]

    assert not devices.clear(uuids, [process.pid])
    process.kill()
    process.wait()
    assert devices.clear(uuids, [process.pid])


def test_outsiders_on_demand(devices, tmp_path):
    """The control file puts strangers on GPUs, and takes them away again."""
    control = tmp_path / "simulated.json"
    outsider = {"gpu": 3, "pid": 77, "user": "eve", "command": "jupyter", "memory": "31GiB"}
    control.write_text(json.dumps({"outsiders": [outsider, {"gpu": 4}]}))

    snapshot = devices.snapshot({})

    (process,) = snapshot.gpus[3].processes
    assert (process.pid, process.user, process.command) == (77, "eve", "jupyter")
    assert process.memory_bytes == snapshot.gpus[3].memory_used_bytes == 31 * GIB
    assert process.attempt is None
    assert snapshot.gpus[3].utilization_percent > 90
    assert where(snapshot) == {3: {77}, 4: {4242}}

    control.write_text("{}")
    assert where(devices.snapshot({})) == {}
    control.write_text(json.dumps({"outsiders": [outsider]}))
    assert where(devices.snapshot({})) == {3: {77}}
    control.unlink()
    assert where(devices.snapshot({})) == {}


def test_faults_on_demand(devices, tmp_path):
    """The control file breaks GPUs, with a sentence, and turns MIG on."""
    faults = [{"gpu": 2, "sentence": "Xid 48: broken."}, {"gpu": 5}]
    (tmp_path / "simulated.json").write_text(json.dumps({"faults": faults, "mig": [7]}))

    gpus = devices.snapshot({}).gpus

    assert [g.health.ok for g in gpus] == [True, True, False, True, True, False, True, True]
    assert gpus[2].health.problems == ("Xid 48: broken.",)
    assert "Xid 79" in gpus[5].health.problems[0]
    assert [g.mig for g in gpus] == [False] * 7 + [True]


def test_leftovers_on_demand(devices, tmp_path):
    """Unexplained memory keeps a GPU from being clear until it is gone."""
    control = tmp_path / "simulated.json"
    control.write_text(json.dumps({"leftovers": [{"gpu": 1, "memory": "2GiB"}]}))

    gpus = devices.snapshot({}).gpus
    assert gpus[1].memory_used_bytes == 2 * GIB
    assert gpus[1].processes == ()
    assert not devices.clear([gpus[1].uuid], [])
    assert devices.clear([gpus[0].uuid], [])

    control.unlink()
    assert devices.clear([gpus[1].uuid], [])


def test_loads_on_demand(devices, start, tmp_path):
    """A GPU with a job on it looks as busy as the file says; an empty one stays empty."""
    loads = [{"gpu": 0, "memory": "40GiB", "utilization": 91}, {"gpu": 1}]
    (tmp_path / "simulated.json").write_text(json.dumps({"loads": loads}))
    job = start(BUSY)
    job.stdout.readline()

    gpus = devices.snapshot(lease(devices, 0, pids={job.pid})).gpus

    assert where(devices.snapshot(lease(devices, 0, pids={job.pid}))) == {0: {job.pid}}
    assert (gpus[0].memory_used_bytes, gpus[0].utilization_percent) == (40 * GIB, 91)
    assert (gpus[1].memory_used_bytes, gpus[1].utilization_percent) == (0, 0)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"outsiders": [{"gpu": -1}]}', '{"faluts": []}', '{"mig": ["x"]}', "\xff"]
)
def test_a_broken_control_file_changes_nothing(devices, tmp_path, text):
    """An unreadable file is ignored: the last good state stays."""
    control = tmp_path / "simulated.json"
    control.write_text(json.dumps({"faults": [{"gpu": 2}]}))
    assert not devices.snapshot({}).gpus[2].health.ok

    control.write_text(text, encoding="latin-1")
    gpus = devices.snapshot({}).gpus

    assert [g.health.ok for g in gpus] == [i != 2 for i in range(8)]


def test_gpus_that_are_not_there_are_passed_over(tmp_path):
    """A control file for a larger box does no harm to a smaller one."""
    lists = {"outsiders": [{"gpu": 9}], "faults": [{"gpu": 9}], "leftovers": [{"gpu": 9}]}
    (tmp_path / "simulated.json").write_text(json.dumps({**lists, "mig": [9]}))
    devices = detect_devices("sim:2", tmp_path)

    gpus = devices.snapshot({}).gpus

    assert all(g.health.ok and not g.processes and not g.mig for g in gpus)
    assert devices.clear([g.uuid for g in gpus], [])


def test_as_a_program(tmp_path):
    """`python -m berth_worker.devices` prints one snapshot, its cost and the fence as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "berth_worker.devices", "sim:2"],
        env={**os.environ, "BERTH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert BoxSnapshot.model_validate_json(json.dumps(seen["snapshot"])).source == "simulated"
    assert seen["fence"]["kind"] == "advisory"
    assert seen["snapshot_cost"]["wall_ms"] > 0
