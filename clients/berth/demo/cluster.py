"""
A Slurm cluster of several nodes on this one machine, with GPUs that are not there.

For the demo and for tests: Debian's packages, no systemd, loopback only, any user. Everything lies
in one folder; the packages' own configuration is not touched. A GPU is a link to /dev/null: Slurm
sets CUDA_VISIBLE_DEVICES only for character devices. As root, jobs may be other users'.
"""

from __future__ import annotations

import getpass
import itertools
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge")
"""Debian's packages that it needs."""
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
_SBIN = "/usr/sbin"


class ClusterError(Exception):
    """The cluster cannot be started; the message is one sentence for the user."""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    return [name for name in _PROGRAMS if shutil.which(name, path=path) is None]


class DemoCluster:
    """One cluster, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        gpus: int = 8,
        more: str = "",
        node_down_after_s: int = 20,
    ) -> None:
        """`more` is appended to slurm.conf; `node_down_after_s` is Slurm's SlurmdTimeout."""
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._gpus = gpus
        self._more = more
        self._node_down_after_s = node_down_after_s
        self.conf = folder / "etc" / "slurm.conf"
        self._ports = _free_ports(nodes + 1)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead Slurm's commands to this cluster."""
        return {"SLURM_CONF": str(self.conf), "PATH": f"{os.environ.get('PATH', '')}:{_SBIN}"}

    def start(self) -> None:
        """Start all daemons and wait until every node is ready. Raises ClusterError."""
        gone = missing()
        if gone:
            raise ClusterError(
                f"Slurm is not installed ({', '.join(gone)}); run `sudo apt install "
                f"--no-install-recommends {' '.join(PACKAGES)}`."
            )
        self._write()
        self.start_munge()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self._wait(self.is_ready, "its nodes are not ready")

    def stop(self) -> None:
        """Cancel what runs and stop all daemons."""
        if self.pid("slurmctld") is not None:
            jobs = self.ask("squeue", "-h", "-o", "%A").split()
            if jobs:
                self.ask("scancel", *jobs)
                deadline = time.monotonic() + 20
                while self.ask("squeue", "-h") and time.monotonic() < deadline:
                    time.sleep(0.1)
        for name in ("slurmctld", *(f"slurmd.{node}" for node in self.nodes), "munged"):
            self.end(name, signal.SIGTERM)

    def start_munge(self) -> None:
        """Start the cluster's own munge."""
        munge = self.folder / "munge"
        self._run(
            "munged",
            f"--key-file={munge / 'key'}",
            f"--socket={munge / 'socket'}",
            f"--pid-file={self._pid_file('munged')}",
            f"--log-file={self.folder / 'log' / 'munged.log'}",
            f"--seed-file={munge / 'seed'}",
            "--num-threads=2",
        )
        self._wait((munge / "socket").exists, "munge does not start")

    def start_controller(self) -> None:
        """Start slurmctld."""
        self._run("slurmctld")

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self._run("slurmd", "-N", node)

    def is_ready(self) -> bool:
        """Return whether every node takes jobs."""
        states = self.ask("sinfo", "-h", "-N", "-p", "gpu", "-o", "%T").split()
        return len(states) == len(self.nodes) and set(states) <= {"idle", "mixed", "allocated"}

    def pid(self, name: str) -> int | None:
        """Return the pid of a daemon (`slurmctld`, `slurmd.n1`, `munged`); None when it is gone."""
        try:
            pid = int(self._pid_file(name).read_text())
            comm = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return pid if comm == name.partition(".")[0] else None

    def end(self, name: str, number: int) -> None:
        """Send a daemon a signal; after TERM and KILL wait until it is gone."""
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, number)
        if number in {signal.SIGTERM, signal.SIGKILL}:
            self._wait(lambda: self.pid(name) is None, f"{name} does not end")

    def ask(self, *words: str) -> str:
        """Return what a command of Slurm prints; empty when it fails."""
        try:
            done = subprocess.run(
                words,
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ClusterError(f"{words[0]} does not start: {said[-1] if said else 'no reason'}.")

    def _wait(self, ready: Callable[[], bool], otherwise: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline:
                raise ClusterError(f"The cluster: {otherwise}; see {self.folder / 'log'}.")
            time.sleep(0.05)

    def _pid_file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.pid"

    def _write(self) -> None:
        for name in ("etc", "munge", "state", "log", "run", "dev"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for each in (self.folder, self.folder / "munge"):
            each.chmod(0o755)
        key = self.folder / "munge" / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(128))
        for index in range(self._gpus):
            link = self.folder / "dev" / f"gpu{index}"
            link.unlink(missing_ok=True)
            link.symlink_to("/dev/null")
        last = f"[0-{self._gpus - 1}]" if self._gpus > 1 else "0"
        (self.folder / "etc" / "gres.conf").write_text(
            f"NodeName={','.join(self.nodes)} Name=gpu Type=h200 "
            f"File={self.folder / 'dev'}/gpu{last}\n"
        )
        (self.folder / "etc" / "plugstack.conf").touch()
        self.conf.write_text("\n".join([*self._settings(), *self._node_lines(), self._more, ""]))

    def _settings(self) -> list[str]:
        user, folder = getpass.getuser(), self.folder
        values = {
            "ClusterName": "berth",
            "SlurmctldHost": f"{_host()}(127.0.0.1)",
            "SlurmctldPort": self._ports[0],
            "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/munge/socket",
            "CredType": "cred/munge",
            "SlurmUser": user,
            "SlurmdUser": user,
            "StateSaveLocation": f"{folder}/state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
            "SlurmdPidFile": f"{folder}/run/slurmd.%n.pid",
            "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
            "SlurmdLogFile": f"{folder}/log/slurmd.%n.log",
            "PlugStackConfig": f"{folder}/etc/plugstack.conf",
            "MailProg": "/bin/true",
            "MpiDefault": "none",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "GresTypes": "gpu",
            "SlurmdParameters": "config_overrides",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,"
            "bf_interval=1,bf_continue",
            "SlurmdTimeout": self._node_down_after_s,
            "ReturnToService": 2,
            "KillWait": 5,
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": f"{folder}/log/jobcomp.txt",
        }
        return [f"{name}={value}" for name, value in values.items()]

    def _node_lines(self) -> list[str]:
        lines: list[str] = []
        for node, port in zip(self.nodes, self._ports[1:], strict=True):
            (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
            lines.append(
                f"NodeName={node} NodeHostname={_host()} NodeAddr=127.0.0.1 Port={port} CPUs=16 "
                f"RealMemory=4000 Gres=gpu:h200:{self._gpus}"
            )
        partition = "PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
        return [*lines, partition]


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    # Not those that the kernel gives to outgoing connections, of which a cluster makes many.
    tried = random.sample(range(20_000, 29_000), 50 * count)
    return list(itertools.islice(filter(_is_free, tried), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
