"""The box and its GPUs: what a device layer sees, and what everybody is shown."""

from __future__ import annotations

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.states import FenceKind, HolderKind


class GpuProcess(Wire):
    """A process that the driver shows on a GPU."""

    pid: int
    user: str | None = None
    command: str | None = None
    """Its command line, shortened; absent when it may not be read."""
    memory_bytes: int | None = None
    """GPU memory it holds, bytes; absent when the driver does not tell."""
    started_at: UtcTime | None = None
    attempt: str | None = None
    """The attempt whose process tree it belongs to."""


class GpuHealth(Wire):
    """Whether a GPU can be trusted with a job."""

    ok: bool = True
    problems: tuple[str, ...] = ()
    """One sentence each: Xid errors, uncorrected ECC, remapped rows, fallen off the bus."""


class GpuSnapshot(Wire):
    """One GPU at one moment, as the device layer sees it. Absent values are not supported."""

    uuid: str
    index: int
    """The box's index in PCI bus order."""
    minor: int | None = None
    """N of /dev/nvidiaN."""
    pci_bus_id: str | None = None
    name: str
    memory_total_bytes: int
    memory_used_bytes: int
    utilization_percent: int | None = None
    """Share of the last sample period in which a kernel ran."""
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    numa_node: int | None = None
    mig: bool = False
    """MIG mode is on; Berth places nothing there."""
    health: GpuHealth = GpuHealth()
    processes: tuple[GpuProcess, ...] = ()


class BoxSnapshot(Wire):
    """The box at one moment."""

    taken_at: UtcTime
    source: str
    """`nvml` or `simulated`."""
    driver_version: str | None = None
    gpus: tuple[GpuSnapshot, ...]
    """In index order."""
    links: tuple[tuple[str, ...], ...] = ()
    """Square matrix in index order, as `nvidia-smi topo -m` names them: X, NV18, PIX, PXB,
    PHB, NODE, SYS."""
    host_memory_total_bytes: int | None = None
    host_memory_available_bytes: int | None = None


class Holder(Wire):
    """Who is on a GPU."""

    kind: HolderKind
    job_id: int | None = None
    attempt: str | None = None
    job_name: str | None = None
    user: str | None = None
    since: UtcTime | None = None
    until: UtcTime | None = None
    """When its time limit ends, at the latest."""
    pids: tuple[int, ...] = ()
    sentence: str
    """For people, e.g. "outsider: pid 4242 of bob (python train.py), 31.2 GiB"."""


class Gpu(GpuSnapshot):
    """One GPU with its holder: the snapshot's fields plus what the queue knows."""

    holder: Holder
    draining: bool = False
    drain_reason: str | None = None


class Box(Wire):
    """The whole box, as `GET /gpus` tells it."""

    hostname: str
    taken_at: UtcTime | None = None
    """When the worker last looked; absent before it did."""
    stale: bool = False
    """The last look is older than 10 seconds: the worker is down or stuck."""
    source: str | None = None
    driver_version: str | None = None
    fence: FenceKind | None = None
    gpus: list[Gpu] = Field(default_factory=list)
    links: list[list[str]] = Field(default_factory=list)
    sentence: str
    """For people, e.g. "3 of 8 GPUs free, next free GPU in about 40m"."""


class DrainRequest(Wire):
    """Why no new job may go onto a GPU."""

    reason: str | None = Field(default=None, max_length=500)
