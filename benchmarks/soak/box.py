"""The box under test: its daemons, a disk of its own, and what can be asked of it from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil
from daemons import POINTS, Daemon

NAMES = ("server", "worker")
_NOBODY = 65534
_SUBMIT = """
import http.client, socket, sys
c = http.client.HTTPConnection("berth", timeout=30)
c.sock = socket.socket(socket.AF_UNIX); c.sock.settimeout(30); c.sock.connect(sys.argv[1])
c.request("POST", "/api/v1/jobs", sys.stdin.buffer.read(), {"Content-Type": "application/json"})
a = c.getresponse(); print(a.status); print(a.read().decode())
"""


class Box:
    """Server and worker with their points, kept up by a thread; on a small disk where root may mount one."""

    def __init__(self, disk_mib: int = 96) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="berth-soak-"))
        self.folder.chmod(0o755)
        self.home, self.armed = self.folder / "home", self.folder / "armed"
        for folder in (self.home, self.armed, self.folder / "locks"):
            folder.mkdir()
            folder.chmod(0o777 if folder != self.home else 0o755)
        for name in ("marks", *(f"locks/{gpu}" for gpu in range(8))):
            (self.folder / name).touch()
            (self.folder / name).chmod(0o666)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={disk_mib}m", "tmpfs", str(self.home)]
        self.has_disk = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
        self._port = _free_port()
        self.daemons = {
            name: Daemon(name, self._environment(), self.folder / f"{name}.log") for name in NAMES
        }

    def start(self) -> None:
        """Start the daemons, and each again as soon as it is gone, until `close`."""
        for daemon in self.daemons.values():
            daemon.start()

    def _environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("BERTH_")},
            "BERTH_HOME": str(self.home),
            "BERTH_GPUS": "sim:8",
            "BERTH_LISTEN": f"127.0.0.1:{self._port}",
            "BERTH_LOG_LEVEL": "warning",
            "BERTH_SOAK": str(self.armed),
        }

    def ready(self) -> bool:
        """Return whether jobs can start."""
        try:
            status, body = self.call("GET", "/gpus", timeout=5)
        except (OSError, http.client.HTTPException):
            return False
        return status == 200 and bool(body["gpus"]) and not body["stale"]

    # Requests

    def call(
        self, method: str, path: str, body: Any = None, timeout: float = 30
    ) -> tuple[int, Any]:
        """One request on a connection of its own. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection("berth", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.sock.settimeout(timeout)
            connection.sock.connect(str(self.home / "run" / "berth.sock"))
            payload = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if payload else {}
            connection.request(method, f"/api/v1{path}", payload, headers)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(raw) if raw else None
        except ValueError:
            raise http.client.HTTPException("a torn answer") from None

    def submit(self, spec: dict[str, Any], *, as_nobody: bool = False) -> tuple[int, Any]:
        """Submit a job, also as another user. Raises OSError, HTTPException."""
        spec = {"workdir": "/", **spec}
        if not as_nobody:
            return self.call("POST", "/jobs", spec)
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-c", _SUBMIT, str(self.home / "run" / "berth.sock")],
            input=json.dumps(spec).encode(),
            capture_output=True,
            check=False,
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
            cwd="/",
        )
        status, _, raw = done.stdout.decode().partition("\n")
        if not status:
            raise OSError("no answer")
        return int(status), json.loads(raw)

    # Processes

    def attempts(self) -> list[tuple[psutil.Process, int]]:
        """Return the living processes of attempts, each with its job's id."""
        found: list[tuple[psutil.Process, int]] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ValueError, KeyError):
                environment = process.environ()
                if environment.get("BERTH_RUN_DIR", "").startswith(str(self.home)):
                    found.append((process, int(environment["BERTH_JOB_ID"])))
        return found

    def shims(self) -> list[psutil.Process]:
        """Return the living shims, and the fork server with the shim that waits."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                is_ours = process.environ().get("BERTH_SOAK") == str(self.armed)
                if is_ours and str(POINTS) in command and "--keep" not in command:
                    found.append(process)
        return found

    def locked(self) -> list[str]:
        """Return the GPUs whose locks are held by a living process."""
        return [
            path.name
            for path in (self.folder / "locks").iterdir()
            if subprocess.run(["flock", "-n", str(path), "true"], check=False).returncode
        ]

    def close(self) -> None:
        """Stop everything and remove the folder."""
        for daemon in self.daemons.values():
            daemon.close()
        for process in [one for one, _ in self.attempts()] + self.shims():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        if self.has_disk:
            subprocess.run(["umount", "-l", str(self.home)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
