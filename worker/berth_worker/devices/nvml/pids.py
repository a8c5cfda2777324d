"""Validation of the driver's pids against the worker's own pid namespace."""

from __future__ import annotations

import os

from berth_worker.devices import processes

# The inode of the kernel's first pid namespace (PROC_PID_INIT_INO).
_FIRST_NAMESPACE = "pid:[4026531836]"
_NODES = "/dev/nvidia"


def nodes() -> str:
    """Return what the paths of the GPUs' device files begin with."""
    return _NODES


class DriverPids:
    """
    Decides which of the driver's pids may be looked up here.

    On the box itself, and in a container with the host's pid namespace, all of them. In any other
    container some drivers translate, others list the host's pids: there a pid is trusted when the
    process of that number has a device file of NVIDIA's open.
    """

    def __init__(self) -> None:
        """Detect the pid namespace."""
        here = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
        self._translated = here == _FIRST_NAMESPACE
        self._trusted: set[tuple[int, int]] = set()

    def trusted(self, pid: int) -> bool:
        """Return whether this pid names the process that is on the GPU. Any thread may call."""
        if self._translated:
            return True
        process = processes.read(pid)
        if process is None:
            return False
        identity = (pid, process.started_ticks)
        if identity not in self._trusted:
            if not processes.has_open(pid, _NODES):
                return False
            self._trusted.add(identity)
        return True
