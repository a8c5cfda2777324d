"""Placement of processes on simulated GPUs, by their own environments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

from berth import jobfiles
from berth_worker.devices import processes
from berth_worker.devices.processes import Process

_MOST_DEVICES = 9999


def place(
    pids: Collection[int], table: Mapping[int, Process], lease: tuple[int, ...]
) -> dict[int, list[Process]]:
    """
    Return the GPUs (by index) that an attempt's processes would be on if the GPUs were real.

    A rank (a process with LOCAL_RANK, not its helpers) is placed on the GPU that
    CUDA_VISIBLE_DEVICES gives to its number, so a launcher that overrides the lease shows where
    it would really have run. Without ranks, the largest process is placed on every GPU it may
    see. Where the environment gives no placement, the lease decides.
    """
    living = [table[pid] for pid in pids if pid in table]
    # Read once: between two readings a process may end, or become another program.
    variables = {process.pid: _variables(process) for process in living}
    placed: dict[int, list[Process]] = {}
    ranks = [p for p in living if _is_rank(p, variables, table)]
    for process in ranks:
        own = variables[process.pid]
        visible = _visible(own) or lease
        rank = jobfiles.whole(own["LOCAL_RANK"], _MOST_DEVICES)
        if rank is not None and rank < len(visible):
            placed.setdefault(visible[rank], []).append(process)
    started = [p for p in living if "BERTH_ATTEMPT" in variables[p.pid]]
    if not ranks and started:
        largest = max(started, key=lambda p: (p.resident_bytes, -p.pid))
        for index in sorted(set(_visible(variables[largest.pid]) or lease)):
            placed.setdefault(index, []).append(largest)
    return placed


def _is_rank(
    process: Process, variables: Mapping[int, dict[str, str]], table: Mapping[int, Process]
) -> bool:
    rank = variables[process.pid].get("LOCAL_RANK", "")
    if jobfiles.whole(rank, _MOST_DEVICES) is None:
        return False
    parent = table.get(process.parent)
    if parent is None:
        return True
    return (variables.get(parent.pid) or _variables(parent)).get("LOCAL_RANK") != rank


def _visible(variables: Mapping[str, str]) -> tuple[int, ...]:
    parts = variables.get("CUDA_VISIBLE_DEVICES", "").split(",")
    numbers = [jobfiles.whole(part.strip(), _MOST_DEVICES) for part in parts]
    known = [number for number in numbers if number is not None]
    return tuple(known) if len(known) == len(numbers) else ()


def _variables(process: Process) -> dict[str, str]:
    if processes.age_s(process) < processes.YOUNG_S:
        return _read(process.pid)
    return _remembered(process.pid, process.started_ticks)


@lru_cache(maxsize=4096)
def _remembered(pid: int, _started_ticks: int) -> dict[str, str]:
    return _read(pid)


def _read(pid: int) -> dict[str, str]:
    names = (b"LOCAL_RANK", b"CUDA_VISIBLE_DEVICES", b"BERTH_ATTEMPT")
    variables = processes.environment(pid)
    return {
        name.decode(): variables[name].decode(errors="replace")
        for name in names
        if name in variables
    }
