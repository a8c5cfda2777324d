"""A server process of the tests' own, and a stream that is read from it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

SPEC = {"command": "true", "workdir": "/"}
START_S = 60
"""Longest start of a server, or of one that refuses to: imports alone take seconds on a busy box."""


class Daemon:
    """A server process with a home of its own, and a worker that the test plays."""

    def __init__(self, home: Path, listen: str = "off", **settings: object) -> None:
        self.home = home
        self.listen = listen
        self.settings = {f"BERTH_{name.upper()}": str(value) for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None
        transport = httpx2.HTTPTransport(uds=str(home / "run" / "berth.sock"))
        self.http = httpx2.Client(transport=transport, base_url="http://berth", timeout=20)

    def start(self, stderr: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        env |= {"BERTH_HOME": str(self.home), "BERTH_LISTEN": self.listen, **self.settings}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "berth_server"], env=env, stderr=stderr
        )
        return self.process

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.stderr
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def report(self, *seen: dict[str, Any], gpus: int = 8) -> None:
        now = datetime.now(UTC).isoformat()
        cards = [
            {
                "uuid": f"GPU-{i}",
                "index": i,
                "minor": i,
                "name": "Simulated",
                "memory_total_bytes": 80 << 30,
                "memory_used_bytes": 0,
            }
            for i in range(gpus)
        ]
        body = {
            "worker_id": "w",
            "boot_id": "b",
            "fence": "advisory",
            "version": "0",
            "snapshot": {"taken_at": now, "source": "simulated", "gpus": cards},
            "attempts": list(seen),
        }
        answer = self.http.post("/internal/v1/report", json=body)
        assert answer.status_code == 204, answer.text

    def desired(self) -> list[dict[str, Any]]:
        return self.http.get("/internal/v1/desired").json()["attempts"]

    def seen(self, attempt: str, phase: str, **more: Any) -> dict[str, Any]:
        (token,) = (one["token"] for one in self.desired() if one["attempt"] == attempt)
        return {"attempt": attempt, "token": token, "phase": phase, **more}

    def end(self, attempt: str, code: int = 0) -> None:
        now = datetime.now(UTC).isoformat()
        left = {"attempt": attempt, "exit_code": code, "cause": "exit", "ended_at": now}
        self.report(self.seen(attempt, "ended", exit=left, gpus_clear=True))

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=30)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.http.close()


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A home with a short path: a unix socket's may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="berth-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def submit(daemon: Daemon, **spec: Any) -> int:
    """Submit a job; its id."""
    answer = daemon.http.post("/api/v1/jobs", json=SPEC | spec)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def started(daemon: Daemon) -> tuple[str, Path]:
    """Submit a job that starts; its attempt and its log's path, whose folder is made."""
    daemon.report()
    attempt = f"{submit(daemon, gpus=0)}.1"
    (wanted,) = (one for one in daemon.desired() if one["attempt"] == attempt)
    log = Path(wanted["run_dir"], "output.log")
    log.parent.mkdir(parents=True)
    return attempt, log


class Stream:
    """A stream of server-sent events, read on a thread of its own."""

    def __init__(self, daemon: Daemon, path: str, headers: dict[str, str] | None = None) -> None:
        self.messages: list[tuple[str, str, Any, float]] = []
        """Name, id, data and arrival of each."""
        self.closed = threading.Event()
        self.opened = threading.Event()
        self._args = (daemon, path, headers or {})
        threading.Thread(target=self._run, daemon=True).start()
        assert self.opened.wait(10)

    def _run(self) -> None:
        daemon, path, headers = self._args
        transport = httpx2.HTTPTransport(uds=str(daemon.home / "run" / "berth.sock"))
        with (
            httpx2.Client(transport=transport, base_url="http://berth", timeout=30) as http,
            contextlib.suppress(httpx2.TransportError),
            http.stream("GET", path, headers=headers) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            self.opened.set()
            for event in httpx2.EventSource(answer):
                data = json.loads(event.data) if event.data else None
                self.messages.append((event.event, event.id, data, time.monotonic()))
        self.closed.set()

    def named(self, name: str) -> list[Any]:
        return [data for kind, _, data, _ in self.messages if kind == name]
