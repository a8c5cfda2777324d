"""One GPU and what was last seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pynvml

from berth_worker.devices import pci
from berth_worker.devices.nvml import links
from berth_worker.devices.nvml import readings as read
from berth_worker.devices.nvml.calls import GpuLostError, ask, demand
from berth_worker.devices.nvml.readings import Readings, Use

_NAMELESS = "GPU-unreadable-"
_PROC = Path("/proc/driver/nvidia/gpus")
# What the driver counts as used on an empty GPU may differ by this much from one time to the
# next; the smallest CUDA context takes more.
_EMPTY_MARGIN_BYTES = 128 * 1024**2
# Beside a process its page tables and the like are used too, and nobody's.
_SHARED_MARGIN_BYTES = 1024**3
# What draws takes less than this together, or it is more than a display.
_DISPLAY_BYTES = 1024**3


@dataclass(slots=True, eq=False)
class Card:
    """A GPU: who it is, for as long as Berth runs, and what was last seen of it."""

    uuid: str
    index: int
    name: str
    handle: Any = None
    """The driver's; None for a GPU that has not answered since the driver was opened."""
    minor: int | None = None
    pci_bus_id: str | None = None
    numa_node: int | None = None
    memory_total_bytes: int = 0
    memory_used_bytes: int = 0
    compute: tuple[Use, ...] = ()
    readings: Readings = field(default_factory=Readings)
    health: tuple[str, ...] = ()
    xids: dict[int, str] = field(default_factory=dict[int, str])
    lost: str | None = None
    """Why it can no longer be read."""
    floor_bytes: int | None = None
    """The least memory that nobody accounted for while nobody used the GPU."""
    readings_due: float = 0.0
    health_due: float = 0.0

    @property
    def is_nameless(self) -> bool:
        """Whether its UUID is a stand-in, because not even the kernel tells it."""
        return self.uuid.startswith(_NAMELESS)

    @property
    def uses(self) -> tuple[Use, ...]:
        """Every process on it."""
        return read.merge(self.compute, self.readings.graphics)

    @property
    def users(self) -> tuple[Use, ...]:
        """
        The processes beside which no job should be placed: all but small displays.

        Many boxes have an Xorg with a few MiB on every GPU, beside which jobs run well; were
        it an outsider, nothing would ever run there.
        """
        uses = self.uses
        drawn = sum(use.memory_bytes or 0 for use in uses if use.draws)
        return tuple(use for use in uses if not use.draws or drawn >= _DISPLAY_BYTES)

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that makes it unfit for a job, one sentence each."""
        lost = () if self.lost is None else (self.lost,)
        return (*lost, *self.xids.values(), *self.health)

    @property
    def busy(self) -> bool:
        """Whether somebody uses it, so that its dear values are worth reading every second."""
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

    def look(self) -> None:
        """Read what is cheap. Raises DriverGoneError; a lost GPU is noted."""
        try:
            self.memory_total_bytes, self.memory_used_bytes = read.memory(self.handle)
            self.compute = read.compute(self.handle)
        except GpuLostError as error:
            self.lost = str(error)
            self.compute = ()
            self.readings = Readings(power_limit_w=self.readings.power_limit_w)
            return
        self.lost = None
        unexplained = self._unexplained()
        if unexplained is not None and not self.users:
            known = self.floor_bytes
            self.floor_bytes = unexplained if known is None else min(known, unexplained)

    def read_dear(self) -> None:
        """Read the dear values. Raises DriverGoneError."""
        if self.lost is None:
            try:
                self.readings = read.readings(self.handle)
            except GpuLostError as error:
                self.lost = str(error)

    def read_graphics(self) -> None:
        """Read who draws or shares, without the dear values. Raises DriverGoneError."""
        if self.lost is None:
            try:
                uses = read.graphics(self.handle)
            except GpuLostError as error:
                self.lost = str(error)
                return
            self.readings = replace(self.readings, graphics=uses)

    def read_health(self) -> None:
        """Ask the GPU what is wrong with it. Raises DriverGoneError."""
        if self.lost is None:
            try:
                self.health = read.health(self.handle, self.index)
            except GpuLostError as error:
                self.lost = str(error)

    def _unexplained(self) -> int | None:
        uses = self.uses
        if any(use.memory_bytes is None for use in uses):
            return None
        return max(0, self.memory_used_bytes - sum(use.memory_bytes or 0 for use in uses))


def find(index: int) -> Card:
    """
    Take up the GPU with this index. Raises DriverGoneError.

    One that is lost already is known from the driver's files alone, if at all.
    """
    try:
        handle = demand(pynvml.nvmlDeviceGetHandleByIndex, index)
        card = Card(
            uuid=demand(pynvml.nvmlDeviceGetUUID, handle),
            index=index,
            name=ask(pynvml.nvmlDeviceGetName, handle) or "NVIDIA GPU",
            handle=handle,
            minor=ask(pynvml.nvmlDeviceGetMinorNumber, handle),
        )
        info = ask(pynvml.nvmlDeviceGetPciInfo, handle)
    except GpuLostError as error:
        return _known_to_the_kernel(index, str(error))
    if info is not None:
        card.pci_bus_id = links.bus_id(info)
        card.numa_node = pci.numa_node(card.pci_bus_id)
        if card.minor is None:
            minor = _kernel_facts(card.pci_bus_id).get("Device Minor", "")
            card.minor = int(minor) if minor.isdigit() else None
    return card


def _known_to_the_kernel(index: int, sentence: str) -> Card:
    names = sorted(path.name for path in _PROC.glob("*")) if _PROC.is_dir() else []
    facts = _kernel_facts(names[index]) if index < len(names) else {}
    minor = facts.get("Device Minor", "")
    return Card(
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
