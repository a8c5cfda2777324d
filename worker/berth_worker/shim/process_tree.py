"""The /proc reader: single processes, the descendants of this one, kernel counters."""
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
        """One process at one moment: the fields of /proc/PID/stat that Berth needs."""

        pid: int
        parent: int
        started_ticks: int
        """Clock ticks after boot; with pid and boot id it identifies one process for ever."""
        state: str
        """The kernel's letter; Z is a zombie, which holds nothing any more."""
        cpu_ticks: int
        """User and system time used so far, clock ticks."""
        resident_bytes: int
        name: str = ""
        flags: int = 0

else:  # typing's own import takes longer than a fork
    Process = namedtuple(  # noqa: PYI024
        "Process",
        "pid parent started_ticks state cpu_ticks resident_bytes name flags",
        defaults=("", 0),
    )

PF_FORKNOEXEC = 0x40
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def read(pid: int) -> Process | None:
    """Return one process; None when there is none."""
    line = files.read(f"/proc/{pid}/stat")
    end = line.rfind(b")")  # the name stands in brackets and may itself hold brackets and blanks
    fields = line[end + 2 :].split()
    if end < 0 or len(fields) < 22:
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        started_ticks=int(fields[19]),
        state=fields[0].decode(),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
        name=line[line.find(b"(") + 1 : end].decode(errors="replace"),
        flags=int(fields[6]),
    )


def table() -> dict[int, Process]:
    """Return every process of the box by pid, zombies included. Costs about 15 µs for each."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = read(int(name))
            if process is not None:
                found[process.pid] = process
    return found


def descendants() -> list[Process]:
    """Return every living process below this one, which as a subreaper adopts all orphans."""
    living = {pid: process for pid, process in table().items() if process.state not in "ZX"}
    me = os.getpid()
    below = {me: True}
    for pid in living:
        path: list[int] = []
        at = pid
        while at in living and at not in below:
            path.append(at)
            at = living[at].parent
        below.update(dict.fromkeys(path, below.get(at, False)))
    return [process for pid, process in living.items() if below.get(pid) and pid != me]


def identity(pid: int) -> dict[str, Any]:
    """Return a process's identity: pid, start time and boot id."""
    boot_id = files.read("/proc/sys/kernel/random/boot_id").decode().strip()
    return {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id}


def start_ticks(pid: int) -> int:
    """Return a process's start time in clock ticks after boot; 0 when there is none."""
    process = read(pid)
    return process.started_ticks if process else 0


def environment(pid: int) -> dict[bytes, bytes]:
    """Return the environment a process was started with; empty when it may not be read."""
    pairs = (item.partition(b"=") for item in files.read(f"/proc/{pid}/environ").split(b"\0"))
    return {name: value for name, sign, value in pairs if sign}


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
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
    """Return how often the kernel has killed for lack of memory since the boot."""
    for line in files.read("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line[9:])
    return 0
