"""A worker as a real process, and a small server in front of it that tests hold in hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests import ports

from berth.protocol.internal import DesiredAttempt, DesiredState, WorkerReport

ALL_GPUS = 8


def until(condition: Callable[[], Any], what: str, timeout_s: float = 20) -> Any:
    """Wait until `condition()` is truthy and return it; fail with `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"After {timeout_s:.0f} s still not so: {what}")
        time.sleep(0.005)


class FakeServer:
    """The two internal routes over a unix socket, in a thread; what is desired is set by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempts: dict[str, dict[str, Any]] = {}
        self.reports: list[WorkerReport] = []
        self.times: list[float] = []
        self.known: dict[str, Any] = {}
        self.generation = 0
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def up(self) -> None:
        """Begin to listen, as a restarted server that counts generations from the start."""

        async def listen() -> None:
            self.generation = 1
            self._server = await asyncio.start_unix_server(self._serve, str(self.path))

        self._call(listen())

    def down(self) -> None:
        """Go away in the middle of whatever is asked, as after kill -9."""

        async def leave() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in self._writers:
                writer.transport.abort()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(leave())
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop for good."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def desire(self, **attempts: dict[str, Any] | None) -> None:
        """Set attempts by id (`a42_1`: None forgets), and tell the worker."""

        async def change() -> None:
            for key, value in attempts.items():
                if value is None:
                    self.attempts.pop(key, None)
                else:
                    self.attempts[key] = value
            self.generation += 1
            self._changed.set()
            self._changed = asyncio.Event()

        self._call(change())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")
                method, target, _ = lines[0].split(" ")
                sizes = [x for x in lines if x.lower().startswith("content-length:")]
                body = await reader.readexactly(int(sizes[0].split(":")[1])) if sizes else b""
                answer = await self._answer(method, target, body)
                status = "200 OK" if answer else "204 No Content"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer
                )
                await writer.drain()
        self._writers.discard(writer)

    async def _answer(self, method: str, target: str, body: bytes) -> bytes:
        if method == "POST":
            assert target == "/internal/v1/report"
            self.times.append(time.monotonic())
            report = WorkerReport.model_validate_json(body)
            self.known |= {attempt.attempt: attempt for attempt in report.attempts}
            self.reports.append(report)
            return b""
        after = dict(p.split("=") for p in target.partition("?")[2].split("&")).get("after")
        if after == str(self.generation):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 30)
        state = {"generation": self.generation, "attempts": list(self.attempts.values())}
        return DesiredState.model_validate_json(json.dumps(state)).model_dump_json().encode()


class WorkerUnderTest:
    """The worker's process, its home and its server."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home = home
        self.work = home / "work"
        self.work.mkdir()
        self.log = log
        self.socket = home / "run" / "worker.sock"
        self.socket.parent.mkdir(parents=True)
        self.server = FakeServer(self.socket)
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        self.jobs = 0

    def start(self) -> None:
        """Start the worker."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "berth_worker"],
                env=kept
                | {"BERTH_HOME": str(self.home), "BERTH_GPUS": f"sim:{ALL_GPUS}"}
                | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the worker a signal and wait for its end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.process = None
        return code

    def gpu_uuids(self) -> list[str]:
        """UUIDs of the box's GPUs, as the worker reports them."""
        found = until(
            lambda: next((r.snapshot for r in reversed(self.server.reports) if r.snapshot), None),
            f"a snapshot was reported (log: {self.log})",
        )
        return [gpu.uuid for gpu in found.gpus]

    def spec(self, command: Any = None, *, gpus: tuple[int, ...] = (), **more: Any) -> Any:
        """A desired attempt as the server would send it; its key is `aJOB_NUMBER`."""
        self.jobs += 1
        job = more.pop("job_id", self.jobs)
        number = more.pop("number", 1)
        uuids = self.gpu_uuids() if gpus else []
        return {
            "attempt": f"{job}.{number}",
            "token": f"token-{job}",
            "action": "run",
            "run_dir": str(self.home / "runs" / str(job) / str(number)),
            "job_id": job,
            "number": number,
            "user": "ada",
            "workdir": str(self.work),
            "grace": "5s",
            "warn_before": "1s",
            "gpus": [{"uuid": uuids[i], "index": i, "minor": i} for i in gpus],
            "master_port": ports.free_port() if gpus else None,
            **({"command": command} if command is not None else {}),
            **more,
        }

    def run(self, command: Any = None, **more: Any) -> str:
        """Desire an attempt; its id."""
        spec = self.spec(command, **more)
        self.desire(spec)
        return spec["attempt"]

    def desire(self, spec: dict[str, Any]) -> None:
        """Set one attempt as it is to be."""
        DesiredAttempt.model_validate_json(json.dumps(spec))
        self.server.desire(**{key(spec["attempt"]): spec})

    def change(self, attempt: str, **fields: Any) -> None:
        """Desire the same attempt with other fields."""
        self.desire(self.server.attempts[key(attempt)] | fields)

    def stop(self, attempt: str, reason: str = "cancelled", **fields: Any) -> None:
        """Desire its end."""
        self.change(attempt, action="stop", stop_reason=reason, **fields)

    def forget(self, attempt: str) -> None:
        """Desire nothing of it any more."""
        self.server.desire(**{key(attempt): None})

    def seen(self, attempt: str) -> Any:
        """Last report of an attempt; None without one."""
        return self.server.known.get(attempt)

    def until_phase(self, attempt: str, *phases: str, timeout_s: float = 20) -> Any:
        """Wait until the attempt is reported in one of the phases."""

        def there() -> Any:
            seen = self.seen(attempt)
            return seen if seen is not None and seen.phase in phases else None

        return until(there, f"{attempt} is {phases} (log: {self.log})", timeout_s)

    def until_clear(self, attempt: str, timeout_s: float = 20) -> Any:
        """Wait until the attempt has ended and left its GPUs."""

        def there() -> Any:
            seen = self.seen(attempt)
            return seen if seen is not None and seen.gpus_clear else None

        return until(there, f"{attempt} is clear (log: {self.log})", timeout_s)

    def folder(self, attempt: str) -> Path:
        """Its run directory."""
        return Path(self.server.attempts[key(attempt)]["run_dir"])

    def output(self, attempt: str) -> str:
        """Its log."""
        return (self.folder(attempt) / "output.log").read_text()

    def pids(self) -> list[int]:
        """Living processes of any attempt of this home."""
        found: list[int] = []
        for process in psutil.process_iter():
            try:
                run_dir = process.environ().get("BERTH_RUN_DIR", "")
                alive = process.status() != psutil.STATUS_ZOMBIE
            except (psutil.Error, OSError):
                continue
            if alive and run_dir.startswith(str(self.home)):
                found.append(process.pid)
        return found

    def shims(self) -> list[int]:
        """Shims of this home's living attempts: one that waits for another attempt is none."""
        found: list[int] = []
        for path in self.home.glob("runs/*/*/started"):
            if path.with_name("exit.json").exists():
                continue
            # A test may have put anything there.
            unread = (psutil.Error, ValueError, RecursionError, TypeError, KeyError)
            with contextlib.suppress(*unread):
                who = json.loads(path.read_text())
                process = psutil.Process(who["pid"])
                if any(word.endswith("/shim/__main__.py") for word in process.cmdline()):
                    found.append(process.pid)
        return found

    def clear(self) -> None:
        """Stop every attempt and forget it."""
        for spec in list(self.server.attempts.values()):
            self.desire(spec | {"action": "stop", "grace": "0s"})
        for spec in list(self.server.attempts.values()):
            self.until_clear(spec["attempt"])
            self.forget(spec["attempt"])

    def close(self) -> None:
        """End everything that was started here."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.pids() + self.shims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.pids(), "no process of a job is left")
        self.server.close()
        shutil.rmtree(self.home, ignore_errors=True)


def key(attempt: str) -> str:
    return "a" + attempt.replace(".", "_")


@contextlib.contextmanager
def open_worker(log: Path) -> Iterator[WorkerUnderTest]:
    """A worker that is not started yet, with a server that does not listen yet."""
    # pytest's own folders are too deep for a unix socket's 107 characters.
    home = Path(tempfile.mkdtemp(prefix="bw-"))
    home.chmod(0o755)
    worker = WorkerUnderTest(home, log)
    try:
        yield worker
    finally:
        worker.close()


@pytest.fixture
def idle_worker(tmp_path: Path) -> Iterator[WorkerUnderTest]:
    """A worker of the test's own that is not started yet; nor does its server listen."""
    with open_worker(tmp_path / "worker.log") as worker:
        yield worker


@pytest.fixture
def worker(idle_worker: WorkerUnderTest) -> WorkerUnderTest:
    """A worker of the test's own that runs and talks to its server."""
    return ready(idle_worker)


@pytest.fixture(scope="module")
def worker_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerUnderTest]:
    """One worker for all tests of a file."""
    with open_worker(tmp_path_factory.mktemp("worker") / "worker.log") as worker:
        yield ready(worker)


@pytest.fixture
def shared_worker(worker_of_module: WorkerUnderTest) -> Iterator[WorkerUnderTest]:
    """The file's worker, with a fresh folder to work in and no attempt of another test."""
    worker_of_module.work = Path(tempfile.mkdtemp(prefix="work-", dir=worker_of_module.home))
    worker_of_module.work.chmod(0o755)
    yield worker_of_module
    worker_of_module.clear()


def ready(worker: WorkerUnderTest) -> WorkerUnderTest:
    worker.server.up()
    worker.start()
    until(lambda: worker.server.reports, f"the worker reports (log: {worker.log})")
    return worker


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    """Wait on a condition: `until(condition, what, timeout_s)`."""
    return until


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free a moment ago."""
    return ports.free_port()
