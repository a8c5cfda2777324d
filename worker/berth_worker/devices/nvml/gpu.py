"""One GPU: its identity and its last readings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pynvml

from berth_worker.devices import pci
from berth_worker.devices.nvml import links
from berth_worker.devices.nvml import readings as read
from berth_worker.devices.nvml.calls import GpuLostError, query, require
from berth_worker.devices.nvml.readings import ProcessUse, Readings

_NAMELESS = "GPU-unreadable-"
_PROC = Path("/proc/driver/nvidia/gpus")
# What the driver counts as used on an empty GPU may differ by this much from one time to the
# next; the smallest CUDA context takes more.
_EMPTY_MARGIN_BYTES = 128 * 1024**2
# A process also uses page tables and the like, which the driver attributes to no process.
_SHARED_MARGIN_BYTES = 1024**3
# The graphics processes of a mere display take less than this together.
_DISPLAY_BYTES = 1024**3


def _nobody(_pid: int, _memory_bytes: int | None) -> bool:
    return False


@dataclass(slots=True, eq=False)
class Gpu:
    """A GPU, for as long as the worker runs: its identity and its last readings."""

    uuid: str
    index: int
    name: str
    handle: Any = None
    """The driver's handle; None for a GPU that has not answered since the driver was opened."""
    minor: int | None = None
    pci_bus_id: str | None = None
    numa_node: int | None = None
    memory_total_bytes: int = 0
    memory_used_bytes: int = 0
    compute: tuple[ProcessUse, ...] = ()
    readings: Readings = field(default_factory=Readings)
    health: tuple[str, ...] = ()
    xids: dict[int, str] = field(default_factory=dict[int, str])
    lost: str | None = None
    """The reason why it can no longer be read; None while it can."""
    floor_bytes: int | None = None
    """The least unexplained memory seen while no process used the GPU."""
    is_harmless: Callable[[int, int | None], bool] = _nobody
    """Test whether a process (pid and memory) occupies nothing but its memory."""
    readings_due: float = 0.0
    health_due: float = 0.0

    @property
    def is_nameless(self) -> bool:
        """True when its UUID is a placeholder, because not even the kernel knows it."""
        return self.uuid.startswith(_NAMELESS)

    @property
    def uses(self) -> tuple[ProcessUse, ...]:
        """Every process on it."""
        return read.merge(self.compute, self.readings.graphics)

    @property
    def users(self) -> tuple[ProcessUse, ...]:
        """
        The processes that keep jobs off the GPU: all but small displays and harmless programs.

        Many boxes run an Xorg with a few MiB on every GPU, or an MPS server that stays after its
        last client, and jobs share a GPU with them well. If they counted as outsiders, nothing
        would ever run there.
        """
        uses = tuple(use for use in self.uses if not self.is_harmless(use.pid, use.memory_bytes))
        drawn = sum(use.memory_bytes or 0 for use in uses if use.graphics_only)
        return tuple(use for use in uses if not use.graphics_only or drawn >= _DISPLAY_BYTES)

    @property
    def problems(self) -> tuple[str, ...]:
        """The reasons why it is unfit for a job, one sentence each."""
        lost = () if self.lost is None else (self.lost,)
        return (*lost, *self.xids.values(), *self.health)

    @property
    def busy(self) -> bool:
        """True when it is in use, so that its expensive values are read every second."""
        return bool(self.users) or self.leftover_bytes > 0

    @property
    def leftover_bytes(self) -> int:
        """Memory in use that no process explains, beyond what an empty GPU shows."""
        unexplained = self._unexplained()
        if self.floor_bytes is None or unexplained is None:
            return 0
        beyond = unexplained - self.floor_bytes
        margin = _SHARED_MARGIN_BYTES if self.users else _EMPTY_MARGIN_BYTES
        return beyond if beyond > margin else 0

    def read_cheap(self) -> None:
        """Read the cheap values. Raises DriverGoneError; a lost GPU is noted."""
        try:
            self.memory_total_bytes, self.memory_used_bytes = read.memory(self.handle)
            self.compute = read.compute(self.handle)
        except GpuLostError as error:
            self._lose(error)
            return
        self.lost = None
        unexplained = self._unexplained()
        if unexplained is not None and not self.users:
            known = self.floor_bytes
            self.floor_bytes = unexplained if known is None else min(known, unexplained)

    def read_expensive(self) -> None:
        """Read the expensive values. Raises DriverGoneError."""
        if self.lost is None:
            try:
                self.readings = read.readings(self.handle)
            except GpuLostError as error:
                self._lose(error)

    def read_graphics(self) -> None:
        """Read the graphics processes and MPS clients alone. Raises DriverGoneError."""
        if self.lost is None:
            try:
                uses = read.graphics(self.handle)
            except GpuLostError as error:
                self._lose(error)
                return
            self.readings = replace(self.readings, graphics=uses)

    def read_health(self) -> None:
        """Read the GPU's health. Raises DriverGoneError."""
        if self.lost is None:
            try:
                self.health = read.health(self.handle, self.index)
            except GpuLostError as error:
                self._lose(error)

    def _lose(self, error: GpuLostError) -> None:
        """Note that it is lost, whichever reading told: what it showed before is the past."""
        self.lost = str(error)
        self.compute = ()
        self.readings = Readings(power_limit_w=self.readings.power_limit_w)

    def _unexplained(self) -> int | None:
        uses = self.uses
        if any(use.memory_bytes is None for use in uses):
            return None
        return max(0, self.memory_used_bytes - sum(use.memory_bytes or 0 for use in uses))


def find(index: int, is_harmless: Callable[[int, int | None], bool] = _nobody) -> Gpu:
    """
    Return the GPU with this index. Raises DriverGoneError.

    A GPU that is lost already is known from the driver's files alone, if at all.
    """
    try:
        handle = require(pynvml.nvmlDeviceGetHandleByIndex, index)
        gpu = Gpu(
            uuid=require(pynvml.nvmlDeviceGetUUID, handle),
            index=index,
            name=query(pynvml.nvmlDeviceGetName, handle) or "NVIDIA GPU",
            handle=handle,
            minor=query(pynvml.nvmlDeviceGetMinorNumber, handle),
            is_harmless=is_harmless,
        )
        info = query(pynvml.nvmlDeviceGetPciInfo, handle)
    except GpuLostError as error:
        return _from_kernel_files(index, str(error))
    if info is not None:
        gpu.pci_bus_id = links.bus_id(info)
        gpu.numa_node = pci.numa_node(gpu.pci_bus_id)
        if gpu.minor is None:
            minor = _kernel_facts(gpu.pci_bus_id).get("Device Minor", "")
            gpu.minor = int(minor) if minor.isdigit() else None
    return gpu


def _from_kernel_files(index: int, sentence: str) -> Gpu:
    names = sorted(path.name for path in _PROC.glob("*")) if _PROC.is_dir() else []
    facts = _kernel_facts(names[index]) if index < len(names) else {}
    minor = facts.get("Device Minor", "")
    return Gpu(
        uuid=facts.get("GPU UUID", f"{_NAMELESS}{index}"),
        index=index,
        name=facts.get("Model", "NVIDIA GPU"),
        minor=int(minor) if minor.isdigit() else None,
        pci_bus_id=facts.get("Bus Location"),
        lost=sentence,
    )


def _kernel_facts(bus_id: str) -> dict[str, str]:
    try:
        text = (_PROC / pci.sysfs_name(bus_id) / "information").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
