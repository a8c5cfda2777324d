"""Simulated GPUs for laptops, demonstrations and tests, with outsiders and faults on demand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import psutil

from berth.protocol.base import utc_now
from berth.protocol.gpus import BoxSnapshot, GpuHealth, GpuProcess, GpuSnapshot
from berth_worker.devices import processes
from berth_worker.devices.models import Model
from berth_worker.devices.processes import Process, ProcessBook
from berth_worker.devices.protocol import AttemptProcesses
from berth_worker.devices.simulated_placement import place
from berth_worker.devices.simulation_file import Simulation, SimulationFile

_UUIDS = uuid.UUID("7b1c8a52-70d1-4a4e-8b0b-6f1f4a5f4b43")
_BUSES = (0x18, 0x2A, 0x3A, 0x5D, 0x9A, 0xAB, 0xBA, 0xDB)
_COOL_C = 31
_HEAT_C = 42


class SimulatedDevices:
    """
    Any number of GPUs of one model, the same UUIDs at every start.

    Running attempts show on them with their real processes: memory is what a process holds of
    the host's, utilisation is its share of the processors, power and temperature follow.
    """

    def __init__(self, count: int, model: Model, home: Path) -> None:
        """`count` GPUs; outsiders and faults come from `home`/simulated.json."""
        self._model = model
        self._uuids = tuple(
            f"GPU-{uuid.uuid5(_UUIDS, f'{model.short}/{index}')}" for index in range(count)
        )
        self._links = _links(count, model.link)
        self._file = SimulationFile(home)
        self._book = ProcessBook(home)
        self._cpu: dict[tuple[int, int], int] = {}
        self._looked_at = time.monotonic()

    @property
    def source(self) -> Literal["simulated"]:
        """Always `simulated`."""
        return "simulated"

    def snapshot(self, attempts: Mapping[str, AttemptProcesses]) -> BoxSnapshot:
        """Return the present state of the box; see `Devices.snapshot`."""
        simulation = self._file.read()
        placed = self._place(attempts)
        shares = self._cpu_shares([process for group in placed.values() for _, process in group])
        memory = psutil.virtual_memory()
        return BoxSnapshot(
            taken_at=utc_now(),
            source=self.source,
            gpus=tuple(
                self._gpu(index, simulation, placed.get(index, []), shares)
                for index in range(len(self._uuids))
            ),
            links=self._links,
            host_memory_total_bytes=memory.total,
            host_memory_available_bytes=memory.available,
        )

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """Return whether the GPUs have been left; see `Devices.clear`."""
        if any(processes.alive(pid) for pid in pids):
            return False
        leftovers = {leftover.gpu for leftover in self._file.read().leftovers}
        return not any(self._uuids[i] in uuids for i in leftovers if i < len(self._uuids))

    def close(self) -> None:
        """Nothing is held."""

    def _place(
        self, attempts: Mapping[str, AttemptProcesses]
    ) -> dict[int, list[tuple[str, Process]]]:
        placed: dict[int, list[tuple[str, Process]]] = {}
        if not attempts:
            return placed
        table = processes.table()
        trees = self._book.by_attempt(
            {name: attempt.pids for name, attempt in attempts.items()},
            uids={n: a.uid for n, a in attempts.items() if a.uid is not None},
            everything=table,
        )
        index_of = {name: index for index, name in enumerate(self._uuids)}
        for name, attempt in attempts.items():
            lease = tuple(index_of[u] for u in attempt.gpu_uuids if u in index_of)
            if not lease:
                continue
            for index, group in place(trees[name], table, lease).items():
                placed.setdefault(index, []).extend((name, process) for process in group)
        return placed

    def _cpu_shares(self, group: Collection[Process]) -> dict[int, int]:
        """Return the percentage of one processor each process used since the last call, at most 100."""
        now = time.monotonic()
        elapsed_s, self._looked_at = max(now - self._looked_at, 0.05), now
        before, self._cpu = self._cpu, {(p.pid, p.started_ticks): p.cpu_ticks for p in group}
        shares: dict[int, int] = {}
        for process in group:
            last = before.get((process.pid, process.started_ticks), process.cpu_ticks)
            used_s = (process.cpu_ticks - last) / processes.TICKS_PER_S
            shares[process.pid] = min(100, round(100 * used_s / elapsed_s))
        return shares

    def _gpu(
        self,
        index: int,
        simulation: Simulation,
        placed: Collection[tuple[str, Process]],
        shares: Mapping[int, int],
    ) -> GpuSnapshot:
        model = self._model
        load = next((one for one in simulation.loads if one.gpu == index and placed), None)
        own = tuple(
            self._process(
                process.pid,
                load.memory // len(placed) if load else _held_bytes(simulation, name, process),
                name,
            )
            for name, process in placed
        )
        outside = tuple(
            GpuProcess(pid=o.pid, user=o.user, command=o.command, memory_bytes=o.memory)
            for o in simulation.outsiders
            if o.gpu == index
        )
        used = sum(p.memory_bytes or 0 for p in own + outside)
        used += sum(leftover.memory for leftover in simulation.leftovers if leftover.gpu == index)
        used_by_own = load.utilization if load else sum(shares.get(p.pid, 0) for p in own)
        busy = min(100, used_by_own + (97 if outside else 0))
        problems = tuple(fault.sentence for fault in simulation.faults if fault.gpu == index)
        return GpuSnapshot(
            uuid=self._uuids[index],
            index=index,
            minor=index,
            pci_bus_id=_bus_id(index),
            name=model.name,
            memory_total_bytes=model.memory_bytes,
            memory_used_bytes=min(used, model.memory_bytes),
            utilization_percent=busy,
            temperature_c=_COOL_C + index % 4 + round(_HEAT_C * busy / 100),
            power_w=load.power if load and load.power is not None else _power_w(model, busy),
            power_limit_w=model.power_limit_w,
            numa_node=_numa_node(index, len(self._uuids)),
            mig=index in simulation.mig,
            health=GpuHealth(ok=not problems, problems=problems),
            processes=own + outside,
        )

    def _process(self, pid: int, memory_bytes: int, attempt: str) -> GpuProcess:
        description = self._book.describe(pid)
        return GpuProcess(
            pid=pid,
            user=description.user if description else None,
            command=description.command if description else None,
            memory_bytes=min(memory_bytes, self._model.memory_bytes),
            started_at=description.started_at if description else None,
            attempt=attempt,
        )


def _power_w(model: Model, busy: int) -> float:
    """Return the power that such a utilisation usually takes, watts."""
    idle_w = model.idle_power_w
    return round(idle_w + (model.power_limit_w - idle_w) * busy / 110, 1)


def _held_bytes(simulation: Simulation, attempt: str, process: Process) -> int:
    """Return the GPU memory of a process: from the file, else its resident host memory."""
    for use in simulation.uses:
        if use.pid == process.pid or (
            use.pid is None and f"{use.job}." == attempt[: attempt.find(".") + 1]
        ):
            return use.memory
    return process.resident_bytes


def _links(count: int, link: str) -> tuple[tuple[str, ...], ...]:
    def name(a: int, b: int) -> str:
        if a == b:
            return "X"
        if link:
            return link
        if _numa_node(a, count) != _numa_node(b, count):
            return "SYS"
        return "PIX" if a // 2 == b // 2 else "NODE"

    return tuple(tuple(name(a, b) for b in range(count)) for a in range(count))


def _numa_node(index: int, count: int) -> int:
    return 0 if index < (count + 1) // 2 else 1


def _bus_id(index: int) -> str:
    domain, place = divmod(index, len(_BUSES))
    return f"{domain:08X}:{_BUSES[place]:02X}:00.0"
