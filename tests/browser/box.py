"""A server and a worker of their own for a test: started, stopped, killed and spoken to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Box:
    """One BERTH_HOME with its daemons. A context manager: leaves nothing running."""

    def __init__(
        self, home: Path, *, gpus: str = "sim:8xH100-80GB", port: int | None = None
    ) -> None:
        self.home = home
        self.port = port or free_port()
        self.gpus = gpus
        self.url = f"http://127.0.0.1:{self.port}"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.start("server")
        self.start("worker")
        self.wait(lambda: len(self.get("/gpus")["gpus"]) > 0, "the worker's first report")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "server" in self._daemons:
            self.clear()
        self.stop("worker")
        self.stop("server")

    def start(self, name: str) -> None:
        """Start a daemon; the server is waited for."""
        environment = {
            **os.environ,
            "BERTH_HOME": str(self.home),
            "BERTH_GPUS": self.gpus,
            "BERTH_LISTEN": f"127.0.0.1:{self.port}",
        }
        with (self.home / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [sys.executable, "-m", f"berth_{name}"],
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if name == "server":
            self.wait(self._answers, "the server")

    def stop(self, name: str, *, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop a daemon and wait until it is gone."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(how)
        try:
            daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(15)

    def get(self, path: str) -> Any:
        """Answer to `GET /api/v1<path>` over the socket."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call over the unix socket, as the user of this process. Fails on an error."""
        connection = _UnixConnection(str(self.home / "run" / "berth.sock"))
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(
                method, f"/api/v1{path}", payload, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 400, f"{method} {path}: {answer.status} {text.decode()}"
            return json.loads(text) if text else None
        finally:
            connection.close()

    def submit(self, script: str, **fields: object) -> int:
        """Submit a shell script and return the job's id."""
        spec = {"script": script, "gpus": 1, "workdir": str(self.home), "grace": "1s", **fields}
        return int(self.call("POST", "/jobs", spec)["id"])

    def wait_state(self, job: int, *states: str) -> dict[str, Any]:
        """The job once it is in one of `states`."""
        return self.wait(
            lambda: found if (found := self.get(f"/jobs/{job}"))["state"] in states else None,
            f"job {job} to be {' or '.join(states)}",
        )

    def simulate(self, wrong: dict[str, object] | None = None) -> None:
        """Set the faults of the GPUs from the next snapshot on; none without `wrong`."""
        path = self.home / "simulated.json"
        if wrong is None:
            path.unlink(missing_ok=True)
            return
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(wrong))
        partial.rename(path)

    def login_link(self) -> str:
        """A link that signs one browser in."""
        return str(self.call("POST", "/login-links")["url"])

    def clear(self) -> None:
        """Cancel every job that has not ended, and wait until all GPUs are free."""
        states = "held,waiting,queued,starting,running,stopping"
        for job in self.get(f"/jobs?state={states}&limit=1000")["jobs"]:
            if job["state"] != "stopping":
                self.call("POST", f"/jobs/{job['id']}/cancel")
        self.wait(
            lambda: (
                not self.get(f"/jobs?state={states}")["jobs"]
                and all(gpu["holder"]["kind"] != "job" for gpu in self.get("/gpus")["gpus"])
            ),
            "all jobs to end",
        )

    def wait(self, condition: Callable[[], T | None], what: str, *, within_s: float = 30) -> T:
        """The first true value of `condition`. Fails after `within_s` seconds."""
        end = time.monotonic() + within_s
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < end, f"waited {within_s} s for {what}; {self._logs()}"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            self.get("/me")
        except (OSError, http.client.HTTPException):
            daemon = self._daemons["server"]
            assert daemon.poll() is None, f"the server ended: {self._logs()}"
            return False
        return True

    def _logs(self) -> str:
        return "\n".join(
            f"{name}: …{(self.home / f'{name}.out').read_text()[-1500:]}"
            for name in ("server", "worker")
            if (self.home / f"{name}.out").exists()
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=15)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def free_port() -> int:
    """Return a port without a listener, below those of outgoing connections."""
    while True:
        port = random.randrange(20_000, 29_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
