"""Holders of a GPU that NVML does not list, and listed processes that hold it from no one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.protocol.gpus import GpuProcess, GpuSnapshot
from berth.protocol.internal import LeasedGpu
from berth_worker.attempts import orphans
from berth_worker.devices import AttemptProcesses
from berth_worker.devices.nvml.holders import HarmlessPrograms

GIB = 1024**3
MIB = 1024**2
GONE = 4_190_000  # beyond the pids that a box gives out


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program that waits, with files open."""
    running: list[subprocess.Popen[bytes]] = []

    def go(program: str, *files: Path) -> subprocess.Popen[bytes]:
        code = (
            "import sys; f = [open(n) for n in sys.argv[1:]]; print(flush=True); sys.stdin.read()"
        )
        words = [program, "-c", code, *map(str, files)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield go
    for process in running:
        process.kill()
        process.wait()


def shown(nvml, gpu: int) -> tuple[GpuProcess, ...]:
    return nvml.snapshot().gpus[gpu].processes


@pytest.fixture
def device(box, tmp_path) -> Path:
    """What stands for GPU 1's device file."""
    path = tmp_path / f"nvidia{box.gpus[1]['minor']}"
    path.write_text("")
    return path


@pytest.fixture
def unified(tmp_path) -> Path:
    """What stands for the device file of unified memory, which CUDA opens and NVML does not."""
    path = tmp_path / "nvidia-uvm"
    path.write_text("")
    return path


def test_the_child_of_an_ended_process_is_named(nvml, box, tmp_path, device, unified, start):
    """The driver lists the dead one alone; who has the device open stands in its place."""
    child = start(sys.executable, device, unified)
    box.put(1, GONE, 5 * GIB)
    box.write()
    nvml.open(tmp_path, pids___NODES=str(tmp_path / "nvidia"))
    (process,) = shown(nvml, 1)
    assert (process.pid, process.ended_pid, process.memory_bytes) == (child.pid, GONE, 5 * GIB)
    assert process.command is not None
    assert process.command.startswith(f"{sys.executable} -c import sys; f = [open(n)")


def test_of_several_children_each_is_named_and_none_is_charged(
    nvml, box, tmp_path, device, unified, start
):
    """Who of them holds how much cannot be told."""
    children = {start(sys.executable, device, unified).pid for _ in range(2)}
    box.put(1, GONE, 5 * GIB)
    box.write()
    nvml.open(tmp_path, pids___NODES=str(tmp_path / "nvidia"))
    found = shown(nvml, 1)
    assert {process.pid for process in found} == children
    assert {process.memory_bytes for process in found} == {None}


def test_who_is_listed_elsewhere_is_not_taken_for_a_child(
    nvml, box, tmp_path, device, unified, start
):
    """A process on another GPU opens every device; without another holder the dead one stays."""
    other = start(sys.executable, device, unified)
    box.put(1, GONE, 5 * GIB)
    box.put(3, other.pid, GIB)
    box.write()
    nvml.open(tmp_path, pids___NODES=str(tmp_path / "nvidia"))
    (process,) = shown(nvml, 1)
    assert (process.pid, process.ended_pid) == (GONE, GONE)


def test_a_monitor_is_not_taken_for_a_child(nvml, box, tmp_path, device, unified, start):
    """Who only asks NVML has the GPU's device file open, too: killing it would free nothing."""
    start(sys.executable, device)
    child = start(sys.executable, device, unified)
    box.put(1, GONE, 5 * GIB)
    box.write()
    nvml.open(tmp_path, pids___NODES=str(tmp_path / "nvidia"))
    (process,) = shown(nvml, 1)
    assert (process.pid, process.memory_bytes) == (child.pid, 5 * GIB)


def test_an_mps_server_without_clients_leaves_the_gpu_free(nvml, box, tmp_path, start):
    """It stays with 66 MiB after its last client; its program's file is root's."""
    if os.geteuid() != 0:
        pytest.skip("only root makes a program of root's")
    server = start(str(copy_of_python(tmp_path, "nvidia-cuda-mps-server")))
    nvml.open(tmp_path)
    box.put(2, server.pid, 66 * MIB)
    box.write()
    assert shown(nvml, 2) == ()
    assert nvml.ask("clear", uuids=[box.uuids[2]], pids=[])


def test_clients_of_mps_are_counted_once(nvml, box, tmp_path, start):
    """They are in the driver's list of compute processes and in that of MPS."""
    client = start(sys.executable)
    nvml.open(tmp_path, driver___BUSY_S=0.02)
    box.put(2, client.pid, 3 * GIB, kind="mps")
    box.add(f"process 2 compute {client.pid} {3 * GIB}")
    box.write()
    snapshot = nvml.until(lambda s: s.gpus[2].processes, "the client is seen")
    (process,) = snapshot.gpus[2].processes
    assert (process.pid, process.memory_bytes) == (client.pid, 3 * GIB)


def copy_of_python(folder: Path, name: str) -> Path:
    """An interpreter under another name."""
    real = Path(os.path.realpath(sys.executable))
    library = real.parent.parent / "lib"
    made = folder / "bin" / name
    made.parent.mkdir(exist_ok=True)
    shutil.copy(real, made)
    (folder / "lib").symlink_to(library)
    return made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes programs of others")
class TestHarmlessPrograms:
    """Known by the name of a file that is root's."""

    def test_a_setting_names_more(self, tmp_path, start):
        """Beside the known ones."""
        process = start(str(copy_of_python(tmp_path, "lab-monitor")))
        assert not HarmlessPrograms()(process.pid, MIB)
        assert HarmlessPrograms(["lab-monitor"])(process.pid, MIB)

    def test_a_name_alone_hides_nobody(self, tmp_path, start):
        """A user's own program called Xorg is an outsider like any other."""
        program = copy_of_python(tmp_path, "Xorg")
        process = start(str(program))
        assert HarmlessPrograms()(process.pid, MIB)
        os.chown(program, 65534, 65534)
        assert not HarmlessPrograms()(process.pid, MIB)

    def test_much_memory_is_not_harmless(self, tmp_path, start):
        """Whatever the program's name."""
        process = start(str(copy_of_python(tmp_path, "Xorg")))
        assert not HarmlessPrograms()(process.pid, 2 * GIB)


class TestHeirs:
    """A job's own leftovers are told from other processes of its user."""

    def found(self, child: int, **changes) -> frozenset[int]:
        process = GpuProcess(pid=child, ended_pid=454, **changes.pop("process", {}))
        gpu = GpuSnapshot(
            uuid="GPU-a", index=0, name="H", memory_total_bytes=1, memory_used_bytes=1,
            processes=(process,),
        )  # fmt: skip
        leased = LeasedGpu(uuid=changes.pop("leased", "GPU-a"), index=0)
        attempt = AttemptProcesses("42.1", ("GPU-a",), frozenset(), changes.pop("uid", None))
        return orphans.heirs([leased], changes.pop("seen", {454, os.getsid(child)}), attempt, [gpu])

    def test_a_child_in_a_session_of_the_job_is_the_jobs(self, start):
        """Of the job's user, on its GPU, in the place of a process of its own."""
        child = start(sys.executable).pid
        assert self.found(child) == {child}

    @pytest.mark.parametrize(
        "changes",
        [
            {"uid": 12345},
            {"seen": {454}},
            {"seen": {455}},
            {"leased": "GPU-b"},
            {"process": {"attempt": "43.1"}},
        ],
        ids=["another user", "another session", "never seen", "another GPU", "another job's"],
    )
    def test_others_are_left_alone(self, start, changes):
        """A notebook of the same user outside the queue must not be killed."""
        assert self.found(start(sys.executable).pid, **changes) == frozenset()
