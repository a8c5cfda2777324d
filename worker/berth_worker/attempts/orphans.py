"""Orphaned processes, which outlive their shim: found by their environment and killed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth.daemons.identity import Identity, boot_id
from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import LeasedGpu
from berth_worker.devices import AttemptProcesses, processes
from berth_worker.devices.processes import ProcessBook
from berth_worker.shim import files
from berth_worker.shim.process_tree import PF_FORKNOEXEC, Process

_PATIENCE_S = 2.0
_ROUND_S = 0.02


def heirs(
    leased: Collection[LeasedGpu],
    seen: Collection[int],
    attempt: AttemptProcesses,
    gpus: Sequence[GpuSnapshot],
) -> frozenset[int]:
    """
    Return the pids that hold leased GPUs in the place of an ended process of the attempt.

    `seen` are the pids that the driver has listed for the attempt, and that of its first process.
    Only a process of its user and of a session of its own counts: the user may have others on the
    GPU, outside the queue.
    """
    uuids = {gpu.uuid for gpu in leased}
    mine = set(seen) | attempt.pids
    found: set[int] = set()
    for gpu in gpus:
        for process in gpu.processes if gpu.uuid in uuids else ():
            if process.ended_pid not in mine or process.pid == process.ended_pid:
                continue
            if process.attempt in {None, attempt.attempt} and _is_of(
                process.pid, attempt.uid, mine
            ):
                found.add(process.pid)
    return frozenset(found)


def _is_of(pid: int, uid: int | None, sessions: Collection[int]) -> bool:
    try:
        owner = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - not a path
        session = os.getsid(pid)
    except OSError:
        return False
    return owner == (os.geteuid() if uid is None else uid) and session in sessions


@dataclass(frozen=True, slots=True)
class Traces:
    """Traces of an attempt's processes that bear no mark: their environment may be cleared."""

    log: tuple[int, int] | None = None
    """Device and inode of the attempt's log, which nothing but its processes writes to."""
    session: int | None = None
    """The session of its first process. Its number names no other while it has a member."""
    fork_server: int | None = None
    """The parent of living shims, and of whatever a killed one leaves."""


def strays(attempt: AttemptProcesses, traces: Traces, table: Mapping[int, Process]) -> set[int]:
    """
    Return the living processes that only their traces betray.

    Of the attempt's own user, or of this one's where the shim died before its child became the
    job. Whoever else holds such a trace (an editor of root's, say) has executed a program.
    """
    own = os.geteuid()
    uid = own if attempt.uid is None else attempt.uid
    server = None if traces.fork_server is None else table.get(traces.fork_server)
    found: set[int] = set()
    for process in table.values():
        if process.state in {"Z", "X"} or process.pid in {os.getpid(), traces.fork_server}:
            continue
        owner = _owner(process.pid)
        if owner is None or owner not in {uid, own}:
            continue
        unborn = bool(process.flags & PF_FORKNOEXEC)
        if owner != uid and not unborn:
            continue
        left_to_server = (
            server is not None
            and process.parent == server.pid
            and files.read(f"/proc/{process.pid}/cmdline")
            != files.read(f"/proc/{server.pid}/cmdline")
        )
        if (
            left_to_server
            or _session(process.pid) == traces.session
            or _writes(process.pid, traces.log)
        ):
            found.add(process.pid)
    return found


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - not a path
    except OSError:
        return None


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _writes(pid: int, log: tuple[int, int] | None) -> bool:
    """Return whether a process has a file open for writing."""
    if log is None:
        return False
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names alone are needed
            facts = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116 - not a path
            if (facts.st_dev, facts.st_ino) == log:
                flags = re.search(rb"flags:\s*([0-7]+)", files.read(f"/proc/{pid}/fdinfo/{name}"))
                if flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    except OSError:
        return False
    return False


_NO_TRACES = Traces()


def kill(home: Path, attempt: AttemptProcesses, traces: Traces = _NO_TRACES) -> tuple[int, int]:
    """
    Kill every living process of an attempt whose shim is gone; return how many were found and
    how many are left.

    Repeats until none is left or `_PATIENCE_S` is over: a process inside the kernel (a driver, a
    network disk) may take longer and is handled by the next call. Blocks.
    """
    book = ProcessBook(home)
    uids = {attempt.attempt: attempt.uid} if attempt.uid is not None else {}
    deadline = time.monotonic() + _PATIENCE_S
    found: set[int] = set()
    while True:
        table = processes.table()
        pids = book.by_attempt({attempt.attempt: attempt.pids}, uids, table)[attempt.attempt]
        others = {
            pid
            for pid in strays(attempt, traces, table) - pids
            if book.attempt_of(pid, {}, uids) in {None, attempt.attempt}
        }
        pids = (pids | others) - {os.getpid()}
        for pid in pids:
            who = Identity(pid, table[pid].started_ticks, boot_id())
            found.add(pid)
            who.send(signal.SIGKILL)
        if not pids or time.monotonic() > deadline:
            return len(found), len(pids)
        time.sleep(_ROUND_S)
