"""A whole box for tests: a real server and worker in a home of their own, seen through REST."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from tests.ports import free_port

# A runner in the background of a script hands SIGINT down as ignored; a user's shell does not,
# and what the tests start is to be as for a user.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FINAL = {"succeeded", "failed", "cancelled"}
POLL_S = 0.03


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Wait until `condition()` is truthy and return it; fail with `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"After {timeout_s:.0f} s still not so: {what}")
        time.sleep(POLL_S)


class Box:
    """Server and worker as processes; everything is asked through the unix socket's REST."""

    def __init__(self, home: Path, gpus: str, log_dir: Path) -> None:
        self.home = home
        self.gpus_setting = gpus
        self.log_dir = log_dir
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.listen = f"127.0.0.1:{free_port()}"
        transport = httpx2.HTTPTransport(uds=str(home / "run" / "berth.sock"), retries=0)
        self.http = httpx2.Client(transport=transport, base_url="http://berth", timeout=30)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the daemons and of a CLI."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        return {
            **kept,
            "BERTH_HOME": str(self.home),
            "BERTH_GPUS": self.gpus_setting,
            "BERTH_LISTEN": self.listen,
        }

    def start(self, *names: str) -> None:
        """Start `server` and `worker` (or those named) and wait until jobs can run."""
        for name in names or ("server", "worker"):
            log = (self.log_dir / f"{name}.log").open("ab")
            self.daemons[name] = subprocess.Popen(
                [sys.executable, "-m", f"berth_{name}"],
                env=self.env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            log.close()
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until the server answers and has heard from the worker."""
        until(self._ready, f"server and worker are ready (logs in {self.log_dir})")

    def _ready(self) -> bool:
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                text = (self.log_dir / f"{name}.log").read_text(errors="replace")
                pytest.fail(f"The {name} left with {daemon.returncode}:\n{text[-4000:]}")
        try:
            box = self.http.get("/api/v1/gpus")
        except httpx2.TransportError:
            return False
        if box.status_code != 200:
            return False
        body = box.json()
        wanted = 1 if "worker" in self.daemons else 0
        return len(body["gpus"]) >= wanted and (not body["stale"] or not wanted)

    def kill(self, *names: str) -> None:
        """Kill -9 of the daemons named, and wait until they are gone."""
        for name in names:
            self.daemons[name].send_signal(signal.SIGKILL)
        for name in names:
            self.daemons.pop(name).wait()

    def get(self, path: str, **params: Any) -> Any:
        """GET under /api/v1; the answer's body."""
        answer = self.http.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None) -> httpx2.Response:
        """POST under /api/v1; the whole answer."""
        return self.http.post(f"/api/v1{path}", json=body if body is not None else {})

    def submit(self, **spec: Any) -> int:
        """Submit one job and return its id."""
        spec.setdefault("workdir", str(self.home))
        answer = self.post("/jobs", spec)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return body["id"]

    def job(self, job_id: int) -> dict[str, Any]:
        """The job as REST tells it."""
        return self.get(f"/jobs/{job_id}")

    def log(self, job_id: int) -> str:
        """The whole log of the job's last attempt."""
        answer = self.http.get(f"/api/v1/jobs/{job_id}/log", params={"limit": 1 << 20})
        return answer.content.decode(errors="replace") if answer.status_code == 200 else ""

    def wait(
        self, *job_ids: int, state: set[str] | None = None, timeout_s: float = 60
    ) -> list[Any]:
        """Wait until each job is in one of the states (default: ended); the jobs."""
        wanted = state or FINAL
        jobs: list[Any] = []
        for job_id in job_ids:
            until(
                lambda job_id=job_id: self.job(job_id)["state"] in wanted | FINAL,
                f"job {job_id} is {'/'.join(sorted(wanted))}",
                timeout_s,
            )
            jobs.append(self.job(job_id))
        return jobs

    def attempt_pids(self) -> list[int]:
        """Pids of living processes that belong to attempts of this box."""
        marker = f"BERTH_RUN_DIR={self.home}"
        found: list[int] = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                alive = process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            run_dir = environment.get("BERTH_RUN_DIR")
            if run_dir and alive and f"BERTH_RUN_DIR={run_dir}".startswith(marker):
                found.append(process.pid)
        return found

    def close(self) -> None:
        """Stop the daemons politely, then whatever of the jobs is left."""
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self.attempt_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        until(lambda: not self.attempt_pids(), "no process of a job is left", 20)
        self.http.close()


@contextlib.contextmanager
def open_box(logs: Path, gpus: str = "sim:8", settings: str = "") -> Iterator[Box]:
    """A running box with `settings` as berth.toml, logging into `logs`; wiped afterwards."""
    # pytest's own folders are too deep for a unix socket's 107 characters.
    home = Path(tempfile.mkdtemp(prefix="berth-"))
    box = Box(home, gpus, logs)
    try:
        (home / "berth.toml").write_text(settings)
        box.start()
        yield box
    finally:
        box.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A running box of eight simulated GPUs."""
    logs = tmp_path / "daemons"
    logs.mkdir()
    with open_box(logs) as box:
        yield box


@pytest.fixture(scope="module")
def shared_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A running box for all tests of one file, which leave nothing that another would see."""
    with open_box(tmp_path_factory.mktemp("daemons")) as box:
        yield box


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, persona dialogues and both config files."""
    folder = tmp_path_factory.mktemp("workspace")
    subprocess.run([sys.executable, "-m", "berth_trainer.demo_workspace", str(folder)], check=True)
    return folder


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    """Wait on a condition: `until(condition, what, timeout_s)`."""
    return until


@pytest.fixture(name="open_box", scope="session")
def open_box_fixture() -> Callable[..., contextlib.AbstractContextManager[Box]]:
    """Make a box by hand: `with open_box(logs, gpus="nvml") as box`."""
    return open_box


@pytest.fixture(scope="session")
def anyones_python() -> str:
    """An interpreter that every user may run: the one here may lie in root's private home."""
    unprivileged = (
        {"user": 65_534, "group": 65_534, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    here = str(Path(sys.executable).resolve())
    tried = [here, *filter(None, [shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")])]
    for python in tried:
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-I", "-S", "-c", "import json, runpy"],
                capture_output=True,
                cwd="/",
                **unprivileged,
            )
            if done.returncode == 0:
                return python
    pytest.fail(f"No Python here that every user may run (tried {tried}); install python3.")
