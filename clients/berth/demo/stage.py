"""Stage of the demo: its folder, the workspace, the daemons."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from rich.console import Console

from berth import installing
from berth.demo.cluster import ClusterError, DemoCluster

WANTED_GPUS = 8
_PARTS = ("server", "worker", "trainer")
_SOCKET_PATH_LIMIT = 107  # bytes of a unix socket's path, sun_path without its end


class StageError(Exception):
    """The demo cannot continue; the message is one sentence for the user."""


class Stage:
    """
    The demo's folder with a workspace (model, data, configs) and a home for Berth.

    Repeatable: an earlier demo's daemons are stopped, its jobs and outputs are cleared away.
    """

    def __init__(self, folder: Path, console: Console, cluster: DemoCluster | None = None) -> None:
        """`cluster`: jobs run there instead of on this box."""
        self.folder = folder
        self._cluster = cluster
        self.workspace = folder / "workspace"
        self.home = _home(folder)
        self._console = console
        self._listen = "127.0.0.1:8787"

    @property
    def url(self) -> str:
        """URL of this demo's server for the SDK."""
        return f"unix://{self.home}/run/berth.sock"

    def set_up(self, gpus: str | None) -> None:
        """Make workspace and home, start the daemons. Raises `StageError`."""
        _check_installed()
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.home / "run").exists():
            self.tear_down(jobs="cancel", quiet=True)
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.workspace / "outputs", ignore_errors=True)
        with _Step(self._console, "A tiny Gemma-3 with random weights, dialogues, two configs"):
            self._run(sys.executable, "-m", "berth_trainer.demo_workspace", str(self.workspace))
        if self._cluster is not None:
            self._start_cluster(self._cluster)
            gpus = ""
        if gpus is None:
            with _Step(self._console, f"Looking for {WANTED_GPUS} GPUs through NVML") as step:
                found = self._real_gpus()
                gpus = "nvml" if found >= WANTED_GPUS else f"sim:{WANTED_GPUS}"
                step.say(f"{found} found" + ("" if gpus == "nvml" else ", so eight simulated ones"))
        self._listen = f"127.0.0.1:{_port(8787)}"
        with _Step(self._console, "Starting server and worker: berth up --detach"):
            self._berth("up", "--detach", BERTH_GPUS=gpus, BERTH_LISTEN=self._listen)

    def tear_down(self, *, jobs: str, quiet: bool = False) -> None:
        """Stop the daemons; `jobs` is what `berth down --jobs` takes."""
        try:
            self._berth("down", "--jobs", jobs)
        except StageError as error:
            if not quiet:
                self._console.print(f"[yellow]{error}[/yellow]")

        if self._cluster is not None:
            self._cluster.stop()

    def _start_cluster(self, cluster: DemoCluster) -> None:
        with _Step(self._console, f"A Slurm cluster of {len(cluster.nodes)} nodes on this machine"):
            try:
                cluster.start()
            except ClusterError as error:
                raise StageError(str(error)) from None
            os.environ.update(cluster.environment)
            self.home.mkdir(parents=True, exist_ok=True)
            (self.home / "berth.toml").write_text('executor = "slurm"\n', encoding="utf-8")

    def sign_in_link(self) -> str:
        """A link that signs a browser in once; the bare address where none could be made."""
        from berth import BerthError, Client

        try:
            with Client(self.url) as client:
                return client.login_link().url
        except BerthError:
            return f"http://{self._listen}"

    def _real_gpus(self) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "berth_worker.devices"],
            env={**os.environ, "BERTH_GPUS": "nvml"},
            capture_output=True,
            check=False,
        )
        try:
            return len(json.loads(done.stdout)["gpus"])
        except (ValueError, KeyError, TypeError):
            return 0

    def _berth(self, *arguments: str, **environment: str) -> None:
        self._run(
            sys.executable,
            "-m",
            "berth.cli.main",
            *arguments,
            BERTH_HOME=str(self.home),
            **environment,
        )

    def _run(self, *command: str, **environment: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        done = subprocess.run(
            command,
            env={**kept, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            lines = done.stdout.strip().splitlines() or ["no output"]
            shown = " ".join(command[1:4])
            raise StageError(f"`{shown}` failed with {done.returncode}: " + "\n".join(lines[-15:]))


class _Step:
    """Prints what is being done, then how long it took."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._more = ""
        self._began = time.monotonic()

    def say(self, more: str) -> None:
        self._more = f": {more}"

    def __enter__(self) -> Self:
        self._console.print(f"{self._title} …", end="")
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        took = time.monotonic() - self._began
        self._console.print(f"{self._more} ({took:.1f} s)" if kind is None else " failed")


def _check_installed() -> None:
    """Raise `StageError` before anything is made where a part of Berth is missing."""
    missing = [part for part in _PARTS if not installing.has(part)]
    if missing:
        raise StageError(
            f"The demo trains on this box, and Berth's {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed here; "
            f"`{installing.command(*_PARTS)}` adds {'it' if len(missing) == 1 else 'them'}."
        )


def _home(folder: Path) -> Path:
    home = folder / "home"
    if len(bytes(home / "run" / "berth.sock")) <= _SOCKET_PATH_LIMIT:
        return home
    # A deep clone: keep a short name for the same user, so that a repeat finds it again.
    return Path(tempfile.gettempdir()) / f"berth-demo-{os.getuid()}"


def _port(wanted: int) -> int:
    """`wanted` if it is free, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
