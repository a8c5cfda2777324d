"""
A box for measuring: a real server and worker with simulated GPUs, spoken to over the unix socket.

Shared by the scripts in this folder. Nothing here is asserted; the scripts print what they saw.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, kept open: the cheapest client there is."""

    def __init__(self, path: Path) -> None:
        super().__init__("berth", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # As the CLI does: with a timeout of Python's, a full queue is an error at once.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 60, 0))
        self.sock.connect(self._path)
        self.sock.settimeout(60)


class MeasuredBox:
    """Server and worker in a home of their own."""

    def __init__(self, gpus: str = "sim:8") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="berth-bench-"))
        self._gpus = gpus
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._connection: UnixConnection | None = None
        self.port = 0
        """Of the dashboard's address."""

    def start(self, *names: str) -> None:
        """Start the daemons named (default: both) and wait until jobs can run."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = port = probe.getsockname()[1]
        environment = {
            **os.environ,
            "BERTH_HOME": str(self.home),
            "BERTH_GPUS": self._gpus,
            "BERTH_LISTEN": f"127.0.0.1:{port}",
        }
        for name in names or ("server", "worker"):
            with (self.home / f"{name}.out").open("ab") as log:
                self.daemons[name] = subprocess.Popen(
                    [sys.executable, "-m", f"berth_{name}"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        while not self._ready():
            time.sleep(0.02)

    def kill(self, *names: str) -> None:
        """Kill -9 of the daemons named."""
        for name in names:
            self.daemons[name].send_signal(signal.SIGKILL)
        for name in names:
            self.daemons.pop(name).wait()
        self._connection = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request under /api/v1; status and parsed body."""
        if self._connection is None:
            self._connection = UnixConnection(self.home / "run" / "berth.sock")
        payload = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if payload is not None else {}
        try:
            self._connection.request(method, f"/api/v1{path}", payload, headers)
            answer = self._connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection = None
            raise
        return answer.status, json.loads(raw) if raw else None

    def submit(self, **spec: Any) -> int:
        """Submit one job; its id."""
        status, body = self.call("POST", "/jobs", {"workdir": str(self.home), **spec})
        if status != 201:
            raise RuntimeError(f"submit answered {status}: {body}")
        return int(body["id"])

    def ended(self, job_ids: Sequence[int], poll_s: float = 0.02) -> list[dict[str, Any]]:
        """Wait until the jobs have ended; the jobs."""
        jobs: list[dict[str, Any]] = []
        for job_id in job_ids:
            while True:
                _, job = self.call("GET", f"/jobs/{job_id}")
                if job["state"] in {"succeeded", "failed", "cancelled"}:
                    jobs.append(job)
                    break
                time.sleep(poll_s)
        return jobs

    def close(self) -> None:
        """
        Stop the daemons; the home is removed when the script ends.

        Not before: on ext4, every new file costs more for minutes after thousands were deleted,
        because their inodes are passed over one by one.
        """
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=10)
            daemon.kill()
            daemon.wait()
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)

    def _ready(self) -> bool:
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                raise RuntimeError(f"the {name} left: {(self.home / f'{name}.out').read_text()}")
        try:
            status, body = self.call("GET", "/gpus")
        except (OSError, http.client.HTTPException):
            return False
        return status == 200 and bool(body["gpus"]) and not body["stale"]


@contextlib.contextmanager
def measured_box(gpus: str = "sim:8") -> Iterator[MeasuredBox]:
    """A running box, closed afterwards."""
    box = MeasuredBox(gpus)
    try:
        box.start()
        yield box
    finally:
        box.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
