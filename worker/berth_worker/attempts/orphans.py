"""Orphaned processes, which outlive their shim: found by their environment and killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from berth.daemons.identity import Identity, boot_id
from berth_worker.devices import AttemptProcesses, processes
from berth_worker.devices.processes import ProcessBook

_PATIENCE_S = 2.0
_ROUND_S = 0.02


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
