"""
Supervisor of a run over several nodes: the batch process on the first of them.

`python -m berth_worker.slurm.on_node.gang RUN_DIR`. It starts one member on each node through srun, gives
them the address and port at which the ranks meet, and ends all of them as soon as one fails, a
node falls silent or the attempt is to stop: Slurm itself does none of that. srun is never
signalled while members live, because it would kill its tasks at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from berth import jobfiles
from berth.protocol.internal import DesiredAttempt, ExitRecord, LeasedGpu
from berth_worker.shim import files, process_tree
from berth_worker.shim.folders import link_files
from berth_worker.slurm.on_node import launching
from berth_worker.slurm.on_node.gang_record import combined, succeeded
from berth_worker.slurm.on_node.shim_process import Overseer, StopRequests, end_alike
from berth_worker.slurm.on_node.wire import BEAT_S, SILENT_S, Line, send, woken
from berth_worker.slurm.placed import GANG_END, PLACED

_GATHER_S = 300.0
_FAILED_GRACE_S = 10.0
"""Time that the other nodes' ranks get between TERM and KILL once one node has failed."""
_LINGER_S = 30.0
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(slots=True)
class Member:
    """One node of the gang, with its connection."""

    line: Line
    rank: int
    name: str
    gpus: tuple[LeasedGpu, ...]
    began: str | None = None
    record: ExitRecord | None = None
    heard_at: float = field(default_factory=time.monotonic)


class Gang:
    """The supervisor of one attempt over several nodes."""

    def __init__(self, folder: int, run_dir: str, desired: DesiredAttempt) -> None:
        self._folder = folder
        self._run_dir = run_dir
        self._desired = desired
        self._members: dict[int, Member] = {}
        self._strangers: list[Line] = []
        self._listener = socket.create_server(("", 0), backlog=desired.nodes * 2)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._srun: subprocess.Popen[bytes] | None = None
        self._stop_asked = False
        self._stopping = False
        self._overseer = Overseer()
        self._stops = StopRequests(run_dir)
        self._give_up_at = time.monotonic() + _GATHER_S
        self._lost: str | None = None
        self._failed: Member | None = None
        self._beat_at = 0.0
        self._noted = False

    def run(self) -> ExitRecord | None:
        """Run the gang to its end; None when a node was lost, so that the result is unknown."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing)
        for number in (*_STOPPING, signal.SIGCHLD):
            signal.signal(number, woken)
        self._selector.register(reading, selectors.EVENT_READ)
        self._start_members()
        while not self._is_over():
            for key, _ in self._selector.select(timeout=BEAT_S / 2):
                if key.fileobj is self._listener:
                    self._greet()
                elif key.fd == reading:
                    self._stop_asked |= any(one in _STOPPING for one in os.read(reading, 64))
                else:
                    self._hear(key.data)
            self._check(time.monotonic())
        self._end_srun()
        return self._record()

    # Members

    def _start_members(self) -> None:
        words = ["srun", "--kill-on-bad-exit=1", "--export=ALL", "--ntasks-per-node=1"]
        words += [f"--nodes={self._desired.nodes}", f"--ntasks={self._desired.nodes}"]
        program = [sys.executable, "-m", "berth_worker.slurm.on_node.member", self._run_dir]
        where = {
            "BERTH_GANG_ADDRESS": launching.address(),
            "BERTH_GANG_PORT": str(self._listener.getsockname()[1]),
        }
        # In a session of its own: signals for this process must not reach it.
        self._srun = subprocess.Popen(
            [*words, *program], env={**os.environ, **where}, start_new_session=True
        )

    def _greet(self) -> None:
        connection, _ = self._listener.accept()
        line = Line(connection)
        self._strangers.append(line)
        self._selector.register(connection, selectors.EVENT_READ, line)

    def _hear(self, line: Line) -> None:
        messages = line.receive()
        member = next((one for one in self._members.values() if one.line is line), None)
        for message in messages or ():
            if member is not None:
                self._take(member, message)
            elif message.get("token") == self._desired.token:
                self._join(line, message)
                member = self._members.get(int(message["rank"]))
        if messages is None:
            self._selector.unregister(line.socket)
            line.socket.close()
            if member is not None and member.record is None:
                self._lose(member)

    def _join(self, line: Line, hello: dict[str, Any]) -> None:
        rank = int(hello["rank"])
        gpus = tuple(LeasedGpu(**gpu) for gpu in hello["gpus"])
        self._members[rank] = Member(line, rank, str(hello["node"]), gpus)
        if len(self._members) == self._desired.nodes:
            held = [gpu for _, one in sorted(self._members.items()) for gpu in one.gpus]
            files.replace(self._folder, PLACED, launching.as_json(tuple(held)))
            self._give_up_at = float("inf")
            first = self._members[0].line.said
            self._tell({"go": {"address": first["address"], "port": first["port"]}})

    def _take(self, member: Member, message: dict[str, Any]) -> None:
        member.heard_at = time.monotonic()
        if "began" in message:
            member.began = str(message["began"])
            if not self._noted and all(one.began for one in self._members.values()):
                self._noted = True
                self._note_start()
        if "ended" in message:
            member.record = ExitRecord.model_validate_json(json.dumps(message["ended"]))
            if self._failed is None and not succeeded(member.record):
                self._failed = member

    def _note_start(self) -> None:
        me = process_tree.identity(os.getpid())
        started = min(one.began or "" for one in self._members.values())
        note = {
            "shim": me,
            "first": me,
            "started_at": started,
            "attempt": self._desired.attempt,
            "token": self._desired.token,
        }
        with contextlib.suppress(OSError):
            files.replace(self._folder, "shim.json", json.dumps(note).encode())

    def _lose(self, member: Member) -> None:
        self._lost = self._lost or member.name
        self._failed = self._failed or member

    def _tell(self, message: dict[str, Any]) -> None:
        for member in self._members.values():
            if member.record is None:
                send(member.line.socket, message)

    # Ends

    def _check(self, now: float) -> None:
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            self._tell({"beat": True})
            self._stop_asked |= self._stops.is_new()
        for member in self._members.values():
            if member.record is None and now - member.heard_at > SILENT_S:
                self._lose(member)
        if self._stop_asked:
            self._stop_asked = False
            self._stop(*self._terms_s())
        elif self._overseer.is_gone and not self._stopping:
            self._lost = launching.node_name()
            self._stop(*self._terms_s())
        elif self._failed is not None and not self._stopping:
            self._stop(min(_FAILED_GRACE_S, self._desired.grace.total_seconds()), 0.0)
        if now >= self._give_up_at and not self._members_left():
            self._lost = self._lost or "a node"

    def _terms_s(self) -> tuple[float, float]:
        grace_s = self._desired.grace.total_seconds()
        try:
            terms = json.loads(files.read_small(self._folder, "stop.json", 4096))
            return max(0.0, float(terms["grace_s"])), max(0.0, float(terms.get("warn_s", 0.0)))
        except (ValueError, KeyError, TypeError):
            return grace_s, 0.0

    def _stop(self, grace_s: float, warn_s: float) -> None:
        self._stopping = True
        self._tell({"stop": {"grace_s": grace_s, "warn_s": warn_s}})
        self._give_up_at = time.monotonic() + grace_s + warn_s + _LINGER_S

    def _members_left(self) -> list[Member]:
        return [one for one in self._members.values() if one.record is None]

    def _is_over(self) -> bool:
        if self._srun is not None and self._srun.poll() is not None and self._members_left():
            return self._drained()
        if time.monotonic() >= self._give_up_at:
            return True
        if self._srun is not None and self._srun.poll() is not None and not self._members:
            return True
        full = len(self._members) == self._desired.nodes
        waited_for = [one for one in self._members_left() if one.name != self._lost]
        return full and not waited_for

    def _drained(self) -> bool:
        """Srun has ended before some members have said how they did: their last words come first."""
        deadline = time.monotonic() + 1.0
        while self._members_left() and time.monotonic() < deadline:
            for key, _ in self._selector.select(timeout=0.1):
                if isinstance(key.data, Line):
                    self._hear(key.data)
        for member in self._members_left():
            self._lose(member)
        return True

    def _end_srun(self) -> None:
        if self._srun is None:
            return
        try:
            self._srun.wait(timeout=_FAILED_GRACE_S)
        except subprocess.TimeoutExpired:
            self._srun.terminate()  # nothing that it could kill is worth waiting for
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._srun.wait(timeout=_FAILED_GRACE_S)
            if self._srun.poll() is None:
                self._srun.kill()

    def _record(self) -> ExitRecord | None:
        failed = self._failed
        end = {"lost": self._lost, "failed": failed.rank if failed is not None else None}
        files.replace(self._folder, GANG_END, json.dumps(end).encode())
        if self._lost is not None:
            return None
        records = [one.record for one in self._members.values() if one.record is not None]
        if len(records) < self._desired.nodes:
            return None
        worst = failed.record if failed is not None else None
        return combined(self._desired.attempt, worst or records[0], records)


def main(run_dir: str) -> int:
    """Run the gang of a run directory; return its exit code."""
    folder = files.open_folder(run_dir)
    if launching.exists(folder, "started"):
        return 0  # an earlier run of the same job has it, or it was stopped before its start
    os.umask(0o022)
    desired = launching.read_spec(folder)
    if not launching.claim(folder, desired, process_tree.identity(os.getpid())):
        return 0
    link_files(folder, files.open_folder(jobfiles.FOLDER, folder), jobfiles.FOLDER)
    record = Gang(folder, run_dir, desired).run()
    if record is None:
        return 1
    content = record.model_dump(mode="json") | {"token": desired.token}
    files.replace(folder, "exit.json", json.dumps(content).encode())
    if record.signal is not None:
        return end_alike(record.signal)
    return record.exit_code if record.exit_code is not None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
