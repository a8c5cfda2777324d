"""A process with a fake NVML in it, and a file that says what its GPUs are like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from berth.protocol.gpus import BoxSnapshot

HERE = Path(__file__).parent
MIB = 1024**2
GIB = 1024**3
BUSES = ("18", "2A", "3A", "5D", "9A", "AB", "BA", "DB")
# What a test would otherwise wait for, seconds.
QUICK = {
    "driver._BUSY_S": 0.02,
    "driver._IDLE_S": 0.05,
    "driver._HEALTH_S": 0.05,
    "driver._AGAIN_S": 0.05,
    "devices._PATIENCE_S": 2.0,
    "xids._WAIT_MS": 20,
}


def compiler() -> list[str]:
    """The C compiler's command; without one the test fails with the fix."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            return [path]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    pytest.fail("These tests compile a small C library; run `make test`, or apt install gcc.")


def build(folder: Path, *without: str) -> Path:
    """Compile the fake library, leaving functions out as an old driver does."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *compiler(),
            *(f"-DWITHOUT_{name}" for name in without),
            *("-O1", "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1")),
            *(str(HERE / "fake_nvml.c"), "-lpthread"),
        ],
        check=True,
        timeout=120,
    )
    return folder


class FakeBox:
    """Eight GPUs of an H100 box as the fake library sees them; change, then `write`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gpus: list[dict[str, Any]] = [
            {
                "uuid": f"GPU-{index:08x}-0000-0000-0000-00000000fa4e",
                "name": "NVIDIA H100 80GB HBM3",
                "bus": f"00000000:{bus}:00.0",
                "minor": 7 - index,
                "total": 81_559 * MIB,
                "used": 3 * MIB,
                "reserved": 520 * MIB,
                "temperature": 30 + index,
                "power": 70_000 + index,
                "limit": 700_000,
                "present": 1,
            }
            for index, bus in enumerate(BUSES)
        ]
        self.lines: list[str] = [f"link {index} -1 18" for index in range(8)]

    @property
    def uuids(self) -> list[str]:
        """The UUIDs in index order."""
        return [gpu["uuid"] for gpu in self.gpus]

    def add(self, line: str) -> None:
        """One more statement (see fake_nvml.c)."""
        self.lines.append(line)

    def put(self, gpu: int, pid: int, size: int, kind: str = "compute") -> None:
        """Put a process on a GPU."""
        self.add(f"process {gpu} {kind} {pid} {size}")
        self.gpus[gpu]["used"] += size

    def write(self) -> None:
        """Let the library see it, in one piece."""
        lines = [
            f"gpu {index} {key} {value}"
            for index, gpu in enumerate(self.gpus)
            for key, value in gpu.items()
        ]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("\n".join([*lines, *self.lines]) + "\n")
        temporary.replace(self.path)


class NvmlHost:
    """The process of nvml_host.py."""

    def __init__(self, library: Path | None, state: Path, *prefix: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        environment["FAKE_NVML_STATE"] = str(state)
        if library is not None:
            environment["LD_LIBRARY_PATH"] = str(library)
        self.state = state
        self.environment = environment
        self.command = [*prefix, sys.executable, str(HERE / "nvml_host.py")]
        self.start()

    def start(self) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
        )

    def ask(self, do: str, **details: Any) -> Any:
        """Send one request and wait for its answer."""
        self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process with NVML in it has ended"
        return json.loads(line)

    def open(self, home: Path, setting: str = "nvml", **intervals: float | str) -> dict[str, str]:
        """Choose devices; the answer holds `source` or `error`."""
        quick = {**QUICK, **{k.replace("__", "."): v for k, v in intervals.items()}}
        return self.ask("open", home=str(home), setting=setting, intervals=quick)

    def snapshot(self, **attempts: Any) -> BoxSnapshot:
        """Take a snapshot; attempts as keyword names would not do for `42.1`."""
        raw = self.ask("snapshot", attempts=attempts.get("attempts", {}))
        return BoxSnapshot.model_validate_json(json.dumps(raw))

    def until(
        self, condition: Callable[[BoxSnapshot], Any], what: str, timeout_s: float = 20
    ) -> BoxSnapshot:
        """Take snapshots until one fulfils the condition."""
        deadline = time.monotonic() + timeout_s
        while True:
            snapshot = self.snapshot()
            if condition(snapshot):
                return snapshot
            if time.monotonic() > deadline:
                pytest.fail(f"After {timeout_s:.0f} s still not so: {what}; last: {snapshot!r}")

    def end(self) -> None:
        """End the process."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _host(folder: Path, *without: str, prefix: tuple[str, ...] = ()) -> Iterator[NvmlHost]:
    host = NvmlHost(build(folder, *without), folder / "state.txt", *prefix)
    yield host
    host.end()


@pytest.fixture(scope="session")
def modern_host(tmp_path_factory) -> Iterator[NvmlHost]:
    """A process with a driver of today, shared by the tests of one session."""
    yield from _host(tmp_path_factory.mktemp("modern"))


@pytest.fixture
def old_nvml(tmp_path) -> Iterator[tuple[NvmlHost, FakeBox]]:
    """A process of its own with a driver that lacks the newer functions."""
    for host in _host(tmp_path / "old", "MEMORY_V2", "PROCESSES_V3"):
        fake = FakeBox(host.state)
        fake.write()
        yield host, fake


@pytest.fixture
def contained_nvml(tmp_path) -> Iterator[tuple[NvmlHost, FakeBox]]:
    """A process in a pid namespace of its own, as in a container."""
    prefix = ("unshare", "-p", "-f", "--mount-proc", "--kill-child")
    if os.geteuid() != 0:
        prefix = (*prefix, "-U", "-r")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("pid namespaces may not be made on this box")
    for host in _host(tmp_path / "contained", prefix=prefix):
        fake = FakeBox(host.state)
        fake.write()
        yield host, fake


@pytest.fixture
def box(modern_host) -> FakeBox:
    """Eight healthy, empty GPUs, not yet opened."""
    fake = FakeBox(modern_host.state)
    fake.write()
    return fake


@pytest.fixture
def nvml(modern_host, box) -> Iterator[NvmlHost]:
    """The shared process; whatever a test opened is closed afterwards."""
    if modern_host.process.poll() is not None:
        modern_host.start()
    yield modern_host
    if modern_host.process.poll() is None:
        modern_host.ask("close")
