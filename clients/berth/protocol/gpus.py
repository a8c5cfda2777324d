"""The box and its GPUs: what a device layer sees, and what everybody is shown."""

from __future__ import annotations

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message
from berth.protocol.reservations import Reservation
from berth.protocol.states import FenceKind, HolderKind


class GpuProcess(Wire):
    """A process that the driver shows on a GPU."""

    pid: int
    """Process id on the box."""
    user: str | None = None
    """Name of its user; absent when it cannot be told."""
    command: str | None = None
    """Its command line, shortened; absent when it may not be read."""
    memory_bytes: int | None = None
    """GPU memory it holds, bytes; absent when the driver does not tell."""
    started_at: UtcTime | None = None
    """When it was started."""
    attempt: str | None = None
    """The attempt whose process tree it belongs to."""


class GpuHealth(Wire):
    """Whether a GPU can be trusted with a job."""

    ok: bool = True
    """Nothing is known against it."""
    problems: tuple[str, ...] = ()
    """One sentence each: Xid errors, uncorrected ECC, remapped rows, fallen off the bus."""


class GpuSnapshot(Wire):
    """One GPU at one moment, as the device layer sees it. Absent values are not supported."""

    uuid: str
    """The driver's UUID: the GPU's name for good."""
    index: int
    """The box's index in PCI bus order."""
    minor: int | None = None
    """N of /dev/nvidiaN."""
    pci_bus_id: str | None = None
    """Like `00000000:1B:00.0`."""
    name: str
    """Model name as the driver tells it."""
    memory_total_bytes: int
    """Memory of the card, bytes."""
    memory_used_bytes: int
    """Memory in use, bytes."""
    utilization_percent: int | None = None
    """Share of the last sample period in which a kernel ran."""
    temperature_c: int | None = None
    """Temperature, degrees Celsius."""
    power_w: float | None = None
    """Power drawn, watts."""
    power_limit_w: float | None = None
    """Most power it may draw, watts."""
    numa_node: int | None = None
    """NUMA node it is attached to."""
    mig: bool = False
    """MIG mode is on; Berth places nothing there."""
    health: GpuHealth = GpuHealth()
    """Whether it can be trusted with a job."""
    processes: tuple[GpuProcess, ...] = ()
    """Who is on it, as the driver shows."""


class BoxSnapshot(Wire):
    """The box at one moment."""

    taken_at: UtcTime
    """When the worker looked."""
    source: str
    """`nvml` or `simulated`."""
    driver_version: str | None = None
    """Version of the NVIDIA driver."""
    gpus: tuple[GpuSnapshot, ...]
    """In index order."""
    links: tuple[tuple[str, ...], ...] = ()
    """Square matrix in index order, as `nvidia-smi topo -m` names them: X, NV18, PIX, PXB,
    PHB, NODE, SYS."""
    host_memory_total_bytes: int | None = None
    """The box's memory, bytes."""
    host_memory_available_bytes: int | None = None
    """What of it is available, bytes."""


class Holder(Wire):
    """Who is on a GPU."""

    kind: HolderKind
    """What kind of holder."""
    job_id: int | None = None
    """With `job`, and with a leased `leftover`: whose lease it is."""
    attempt: str | None = None
    """The attempt, like `42.1`."""
    job_name: str | None = None
    """Name of the job."""
    user: str | None = None
    """Who it is; absent when it cannot be told."""
    since: UtcTime | None = None
    """Since when."""
    until: UtcTime | None = None
    """When its time limit ends, at the latest."""
    pids: tuple[int, ...] = ()
    """Its processes on this GPU."""
    memory_bytes: int | None = None
    """The part of the card that it leases, bytes; absent for the whole card."""
    memory_used_bytes: int | None = None
    """What its processes hold of this GPU's memory, bytes; absent when nobody tells."""
    sentence: str
    """For people, e.g. "outsider: pid 4242 of bob (python train.py), 31.2 GiB"."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class Gpu(GpuSnapshot):
    """One GPU with its holder: the snapshot's fields plus what the queue knows."""

    holder: Holder
    """Who is on it, or why nobody may be; of several, the one who came first."""
    holders: list[Holder] = Field(default_factory=list)
    """Everybody who holds it: several where jobs share the card, oldest first; empty when free."""
    memory_leased_bytes: int | None = None
    """What the shares on it lease together, bytes; absent unless it is shared."""
    draining: bool = False
    """No new job is let onto it."""
    drain_reason: str | None = None
    """Why, in the words of who drained it."""
    drain_until: UtcTime | None = None
    """When jobs are let onto it again by themselves; absent: when somebody undrains it."""
    reservations: list[Reservation] = Field(default_factory=list)
    """For whom it is set aside, now or later, soonest first."""


class Box(Wire):
    """The whole box, as `GET /gpus` tells it."""

    hostname: str
    """The box's name."""
    taken_at: UtcTime | None = None
    """When the worker last looked; absent before it did."""
    stale: bool = False
    """The last look is older than 10 seconds: the worker is down or stuck."""
    source: str | None = None
    """`nvml` or `simulated`; absent before the worker looked."""
    driver_version: str | None = None
    """Version of the NVIDIA driver."""
    fence: FenceKind | None = None
    """What keeps jobs off other GPUs here; absent before the worker reported."""
    gpus: list[Gpu] = Field(default_factory=list)
    """In index order."""
    links: list[list[str]] = Field(default_factory=list)
    """Square matrix in index order, as `nvidia-smi topo -m` names them."""
    sentence: str
    """For people, e.g. "3 of 8 GPUs free, next free GPU in about 40m"."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class DrainRequest(Wire):
    """Why no new job may go onto a GPU."""

    reason: str | None = Field(default=None, max_length=500, examples=["new fan on Thursday"])
    """Shown beside the GPU until it is undrained."""
    until: UtcTime | None = Field(default=None, examples=["2026-11-26T18:00:00Z"])
    """When jobs are let onto it again by themselves; default: when somebody undrains it."""
