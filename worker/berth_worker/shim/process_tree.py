"""Which processes are below the shim, and what the kernel tells about each."""
# pathlib is left out: see files.py.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import signal
from collections import namedtuple

from berth_worker.shim import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class Process(NamedTuple):
        """One line of /proc/PID/stat, as far as it matters here."""

        pid: int
        name: str
        state: str
        parent: int
        flags: int
        started: int
        """Clock ticks after boot; with the pid it names one process of this boot."""

else:  # typing's own import takes longer than a fork
    Process = namedtuple("Process", "pid name state parent flags started")  # noqa: PYI024

PF_FORKNOEXEC = 0x40


def read(pid: int) -> Process | None:
    """Read one process; None when there is none."""
    line = files.read(f"/proc/{pid}/stat")
    end = line.rfind(b")")
    if end < 0:
        return None
    fields = line[end + 2 :].split()
    name = line[line.find(b"(") + 1 : end].decode(errors="replace")
    state = fields[0].decode()
    return Process(pid, name, state, int(fields[1]), int(fields[6]), int(fields[19]))


def descendants() -> list[Process]:
    """Every living process below this one; being their subreaper it is above all orphans."""
    everybody: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = read(int(name))
            if process is not None and process.state not in "ZX":
                everybody[process.pid] = process
    me = os.getpid()
    below = {me: True}
    for pid in everybody:
        path: list[int] = []
        at = pid
        while at in everybody and at not in below:
            path.append(at)
            at = everybody[at].parent
        below.update(dict.fromkeys(path, below.get(at, False)))
    return [process for pid, process in everybody.items() if below.get(pid) and pid != me]


def identity(pid: int) -> dict[str, Any]:
    """Who a process is, never to be mistaken for a later one with its pid."""
    boot_id = files.read("/proc/sys/kernel/random/boot_id").decode().strip()
    return {"pid": pid, "start_ticks": started(pid), "boot_id": boot_id}


def started(pid: int) -> int:
    """When a process was started, clock ticks after boot; 0 when there is none."""
    process = read(pid)
    return process.started if process else 0


def environment(pid: int) -> dict[bytes, bytes]:
    """A process's environment; empty when it may not be read."""
    pairs = (item.partition(b"=") for item in files.read(f"/proc/{pid}/environ").split(b"\0"))
    return {name: value for name, sign, value in pairs if sign}


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    for line in files.read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line[7:], 16) >> (number - 1) & 1)
    return False


def kill(pid: int, number: signal.Signals) -> None:
    """
    Send a signal to a descendant seen a moment ago.

    Our children cannot give their pids away before we reap them. A grandchild's may have been
    reaped since: the kernel does not hand a pid out again that soon.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def oom_kills() -> int:
    """How often the kernel has killed for want of memory since the boot."""
    for line in files.read("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line[9:])
    return 0
