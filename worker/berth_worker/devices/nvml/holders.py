"""Processes that hold a GPU's device file: those the driver does not list, and harmless ones."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable

from berth_worker.devices import processes
from berth_worker.devices.nvml import pids

HARMLESS = frozenset(
    {"nvidia-cuda-mps-server", "nvidia-cuda-mps-control", "nvidia-persistenced", "nvidia-smi"}
    | {"Xorg", "X", "Xwayland", "Xvnc", "gnome-shell", "gdm", "sddm", "lightdm", "kwin_wayland"}
    | {"kwin_x11", "plasmashell", "weston", "sway"}
    | {"nv-hostengine", "dcgm-exporter", "dcgmi", "nvidia_gpu_exporter", "nvidia-dcgm"}
    | {"nvtop", "nvitop", "gpustat", "node_exporter", "telegraf"}
)
"""Programs that keep a GPU's device open without computing on it."""
_MOST_HARMLESS_BYTES = 1024**3
_FRESH_S = 2.0
_UNIFIED = "-uvm"
_DEVICE = re.compile(r"[0-9]+")


def is_gone(pid: int) -> bool:
    """Return whether a pid names no process that can hold memory any more."""
    process = processes.read(pid)
    if process is None:
        return True
    if process.state not in {"Z", "X"}:
        return False
    try:
        # A process whose first thread has ended looks like a zombie while others go on.
        return len(os.listdir(f"/proc/{pid}/task")) <= 1  # noqa: PTH208 - names alone are needed
    except OSError:
        return True


class HarmlessPrograms:
    """
    Recognises programs that occupy nothing of a GPU but their memory.

    A name alone is anybody's to choose: where the program's file can be seen it must be root's.
    Any thread may ask.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        """`more` are names of further programs."""
        self._names = HARMLESS | frozenset(more)
        self._known: dict[tuple[int, int], bool] = {}

    def __call__(self, pid: int, memory_bytes: int | None) -> bool:
        """Return whether a process of this memory on a GPU is such a program."""
        if (memory_bytes or 0) >= _MOST_HARMLESS_BYTES:
            return False
        process = processes.read(pid)
        if process is None:
            return False
        identity = (pid, process.started_ticks)
        found = self._known.get(identity)
        if found is None or processes.age_s(process) < processes.YOUNG_S:
            found = self._is_named(pid, process.name)
            if len(self._known) > 4096:
                self._known.clear()
            self._known[identity] = found
        return found

    def _is_named(self, pid: int, name: str) -> bool:
        try:
            program = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - not a path to follow
            owner = os.stat(f"/proc/{pid}/exe").st_uid  # noqa: PTH116 - as above
        except OSError:
            # Of another user's process an ordinary worker sees 15 characters of the name alone.
            return any(known[:15] == name for known in self._names)
        known_name = program.removesuffix(" (deleted)").rpartition("/")[2]
        return known_name in self._names and owner == 0


class DeviceHolders:
    """
    The processes that may hold memory of the GPUs, read at most every two seconds.

    They have a GPU's device file open and that of unified memory, as CUDA does and what forks from
    it: a monitor that only asks NVML has the first alone.
    """

    def __init__(self) -> None:
        self._read_at = 0.0
        self._found: dict[int, list[int]] = {}

    def of(self, minor: int, listed: Collection[int]) -> list[int]:
        """Return who holds /dev/nvidia<minor> and is not among the pids that the driver lists."""
        now = time.monotonic()
        if now - self._read_at > _FRESH_S or not self._read_at:
            self._found, self._read_at = _read_holders(), now
        own = os.getpid()
        return [pid for pid in self._found.get(minor, ()) if pid not in listed and pid != own]


def _read_holders() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    prefix = pids.nodes()
    for name in os.listdir("/proc"):  # noqa: PTH208 - hot path
        if not name.isdigit():
            continue
        minors: set[int] = set()
        computes = False
        folder = f"/proc/{name}/fd"
        try:
            for fd in os.listdir(folder):  # noqa: PTH208 - hot path
                try:
                    target = os.readlink(f"{folder}/{fd}")  # noqa: PTH115 - hot path
                except OSError:
                    continue
                rest = target.removeprefix(prefix)
                if rest != target and _DEVICE.fullmatch(rest):
                    minors.add(int(rest[:9]))
                computes = computes or (rest != target and rest == _UNIFIED)
        except OSError:
            continue
        for minor in minors if computes else ():
            found.setdefault(minor, []).append(int(name))
    return found
