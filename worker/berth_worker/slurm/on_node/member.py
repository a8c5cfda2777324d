"""
Part of a gang on one node: plans the launch there, and keeps a shim for the node's ranks.

`python -m berth_worker.slurm.on_node.member RUN_DIR`, one per node through srun. The shim is a child of
its own; this process carries words between it and the gang's supervisor, and ends the ranks when
that has been silent for too long.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from berth import jobfiles
from berth.commands import Gang
from berth.protocol.base import utc_now
from berth.protocol.internal import DesiredAttempt, ExitRecord, LeasedGpu
from berth_worker.launch import LaunchError
from berth_worker.shim import files
from berth_worker.slurm.on_node import launching
from berth_worker.slurm.on_node.shim_process import Overseer, ShimProcess
from berth_worker.slurm.on_node.wire import BEAT_S, SILENT_S, Line, send, woken
from berth_worker.slurm.placed import node_log

_LOST = 1
_POLL_S = 0.1


class Member:
    """The member of this node."""

    def __init__(self, run_dir: str, line: Line, rank: int) -> None:
        self._run_dir = run_dir
        self._line = line
        self._rank = rank
        self._own = f"{run_dir}/nodes/{rank}"
        self._shim: ShimProcess | None = None
        self._overseer = Overseer()
        self._began = False
        self._heard_at = time.monotonic()
        self._beat_at = 0.0
        self._cut_off = False

    def run(self, desired: DesiredAttempt) -> int:
        """Take part until the ranks of this node have ended."""
        held = launching.held_here(desired)
        hello: dict[str, Any] = {
            "token": desired.token,
            "rank": self._rank,
            "node": launching.node_name(),
            "gpus": [gpu.model_dump() for gpu in held],
        }
        if self._rank == 0:
            hello |= {"port": launching.free_port(), "address": launching.address()}
        send(self._line.socket, hello)
        while self._shim is None and not self._cut_off:
            for message in self._hear():
                if "go" in message:
                    self._start(desired, message["go"])
                elif "stop" in message:
                    return 0
        return _LOST if self._shim is None else self._follow(self._shim, held)

    def _start(self, desired: DesiredAttempt, go: dict[str, Any]) -> None:
        Path(self._own).mkdir(parents=True, exist_ok=True)
        own = files.open_folder(self._own)
        gang = Gang(nodes=desired.nodes, rank=self._rank, address=str(go["address"]))
        port = int(go["port"]) if desired.gpus else None
        here = desired.model_copy(update={"run_dir": self._own})
        log = f"../../{node_log(self._rank)}"
        try:
            held = launching.held_here(desired)
            found = launching.plan_here(here, held, port=port, gang=gang)
        except LaunchError as error:
            record = ExitRecord(
                attempt=desired.attempt,
                cause="launch_error",
                message=str(error),
                ended_at=utc_now(),
            )
            if self._rank == 0:
                files.replace(own, log, f"{error}\n".encode(errors="replace"))
            send(self._line.socket, {"ended": record.model_dump(mode="json")})
            sys.exit(0)
        found.launch["env"]["BERTH_RUN_DIR"] = f"{self._run_dir}/{jobfiles.FOLDER}"
        more: dict[str, Any] = {"files": f"../../{jobfiles.FOLDER}", "log": log}
        if self._rank:
            more["port"] = None  # only the first node's ranks listen there
        launching.write_orders(own, "launch.json", desired, found, more)
        if self._rank == 0:
            number = launching.slurm_job()
            with_facts = {"attempt": desired.attempt, "token": desired.token}
            facts = with_facts | {"facts": found.facts.model_dump(mode="json")}
            folder = files.open_folder(self._run_dir)
            files.replace(folder, f"launch-{number}.json", json.dumps(facts).encode(), mode=0o600)
        self._shim = ShimProcess(f"{self._own}/launch.json")

    def _hear(self) -> list[dict[str, Any]]:
        """Wait a moment for messages; note when the supervisor has been silent for too long."""
        ready, _, _ = select.select([self._line.socket], [], [], _POLL_S)
        messages = self._line.receive() if ready else []
        now = time.monotonic()
        if messages:
            self._heard_at = now
        silent = messages is None or now - self._heard_at > SILENT_S
        if silent or self._overseer.is_gone:
            self._cut_off = True
            time.sleep(_POLL_S)
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            send(self._line.socket, {"beat": True})
        return messages or []

    def _follow(self, shim: ShimProcess, held: tuple[LeasedGpu, ...]) -> int:
        own = files.open_folder(self._own)
        usage = launching.usage(files.open_folder(self._run_dir), self._rank, held)
        stopped = False
        while shim.ended() is None:
            usage.keep()
            for message in self._hear():
                if "stop" in message:
                    files.replace(own, "stop.json", json.dumps(message["stop"]).encode())
                    shim.stop()
            if self._cut_off and not stopped:
                stopped = True
                shim.stop()
            if not self._began:
                self._tell_start(own)
        self._tell_start(own)
        record = json.loads(files.read_small(own, "exit.json", 1 << 20) or b"null")
        if record is None or self._cut_off:
            return _LOST
        record.pop("token", None)
        send(self._line.socket, {"ended": record})
        return 0

    def _tell_start(self, own: int) -> None:
        note = json.loads(files.read_small(own, "shim.json", 1 << 20) or b"{}")
        if not self._began and "started_at" in note:
            self._began = True
            send(self._line.socket, {"began": note["started_at"]})


def main(run_dir: str) -> int:
    """Be the member of this node; return 0 when the supervisor knows how it ended."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Slurm sends TERM to every process of a job; the shim gets it too and reports the end.
        signal.signal(number, woken)
    os.umask(0o022)
    desired = launching.read_spec(files.open_folder(run_dir))
    where = (os.environ.pop("BERTH_GANG_ADDRESS"), int(os.environ.pop("BERTH_GANG_PORT")))
    connection = socket.create_connection(where, timeout=60)
    rank = int(os.environ.get("SLURM_NODEID", "0"))
    return Member(run_dir, Line(connection), rank).run(desired)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
