"""Orphaned processes, which outlive their shim: found by their environment and killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from berth.daemons.identity import Identity, boot_id
from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import LeasedGpu
from berth_worker.devices import AttemptProcesses, processes
from berth_worker.devices.processes import ProcessBook

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


def kill(home: Path, attempt: AttemptProcesses) -> tuple[int, int]:
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
        pids -= {os.getpid()}
        for pid in pids:
            who = Identity(pid, table[pid].started_ticks, boot_id())
            found.add(pid)
            who.send(signal.SIGKILL)
        if not pids or time.monotonic() > deadline:
            return len(found), len(pids)
        time.sleep(_ROUND_S)
