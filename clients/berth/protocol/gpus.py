"""The box and its GPUs, as a device layer sees them and as users are shown them."""

from __future__ import annotations

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message
from berth.protocol.progress import Progress
from berth.protocol.reservations import Reservation
from berth.protocol.states import FenceKind, HolderKind


class GpuProcess(Wire):
    """A process that the driver shows on a GPU."""

    pid: int
    """Process id on the box."""
    user: str | None = None
    """Name of its user; absent when unknown."""
    command: str | None = None
    """Its command line, shortened; absent when it may not be read."""
    memory_bytes: int | None = None
    """GPU memory it holds, bytes; absent when the driver does not report it."""
    started_at: UtcTime | None = None
    """Start time."""
    attempt: str | None = None
    """The attempt whose process tree it belongs to."""
    slurm_job: int | None = None
    """On a cluster: the Slurm job that holds the GPU, in place of a process; `pid` is 0 then and
    `command` is its name."""
    ended_pid: int | None = None
    """The pid that the driver goes on listing although it has ended. `pid` holds the GPU's device
    file in its place, or is the same where no such process can be seen."""


class GpuHealth(Wire):
    """Health of a GPU: fit for jobs or not."""

    ok: bool = True
    """True if no problem is known."""
    problems: tuple[str, ...] = ()
    """One sentence each: Xid errors, uncorrected ECC, remapped rows, fallen off the bus."""


class GpuSnapshot(Wire):
    """One GPU at one moment, as the device layer sees it. Absent values are not supported."""

    uuid: str
    """The driver's UUID: the GPU's name for good."""
    index: int
    """The box's index in PCI bus order."""
    node: str | None = None
    """On a cluster: the name of its node."""
    node_index: int | None = None
    """On a cluster: its index on the node; `index` counts over the whole cluster."""
    minor: int | None = None
    """N of /dev/nvidiaN."""
    pci_bus_id: str | None = None
    """Like `00000000:1B:00.0`."""
    name: str
    """Model name as the driver reports it."""
    memory_total_bytes: int
    """Memory of the GPU, bytes."""
    memory_used_bytes: int | None = None
    """Memory in use, bytes; absent where nothing reports it, as on a cluster's free GPUs."""
    utilization_percent: int | None = None
    """Share of the last sample period in which a kernel ran."""
    temperature_c: int | None = None
    """Temperature, degrees Celsius."""
    power_w: float | None = None
    """Power drawn, watts."""
    power_limit_w: float | None = None
    """Power limit, watts."""
    numa_node: int | None = None
    """NUMA node it is attached to."""
    mig: bool = False
    """MIG mode is on; Berth places no job there."""
    health: GpuHealth = GpuHealth()
    """True if it can be trusted with a job."""
    processes: tuple[GpuProcess, ...] = ()
    """Processes on it, as the driver shows them."""


class BoxSnapshot(Wire):
    """The box at one moment."""

    taken_at: UtcTime
    """Time of the snapshot."""
    source: str
    """`nvml`, `simulated` or `slurm`."""
    driver_version: str | None = None
    """Version of the NVIDIA driver; on a cluster that of Slurm."""
    gpus: tuple[GpuSnapshot, ...]
    """In index order."""
    links: tuple[tuple[str, ...], ...] = ()
    """Square matrix in index order, as `nvidia-smi topo -m` names them: X, NV18, PIX, PXB,
    PHB, NODE, SYS."""
    host_memory_total_bytes: int | None = None
    """The box's memory, bytes."""
    host_memory_available_bytes: int | None = None
    """Available part of it, bytes."""


class Holder(Wire):
    """Holder of a GPU: a job, other processes, or the reason why it is not free."""

    kind: HolderKind
    """Kind of holder."""
    job_id: int | None = None
    """With `job`, and with a leased `leftover`: whose lease it is."""
    attempt: str | None = None
    """The attempt, like `42.1`."""
    job_name: str | None = None
    """Name of the job."""
    user: str | None = None
    """Its user; absent when unknown."""
    since: UtcTime | None = None
    """Start of the hold."""
    until: UtcTime | None = None
    """End of its time limit."""
    progress: Progress | None = None
    """Progress of the job; absent where nothing tells."""
    alerts: list[str] = Field(default_factory=list)
    """Alerts of the job, as in `Job`."""
    alerts_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""
    pids: tuple[int, ...] = ()
    """Its processes on this GPU."""
    memory_bytes: int | None = None
    """The part of the GPU that it leases, bytes; absent for the whole GPU."""
    memory_used_bytes: int | None = None
    """Memory of this GPU that its processes hold, bytes; absent when unknown."""
    sentence: str
    """For people, e.g. "external process: pid 4242 of bob (python train.py), 31.2 GiB"."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class NextFree(Wire):
    """The next GPUs to come free for the caller; reservations, drains and external processes count."""

    gpu_indices: list[int]
    """Those that come free at that moment."""
    at: UtcTime
    """Time; the median where it is estimated."""
    late: UtcTime | None = None
    """Nine of ten times they are free by then; absent where nothing is estimated."""
    estimated: bool = False
    """True if it follows from a job's own progress, false if from a limit, a drain's end or a
    reservation's."""


class Gpu(GpuSnapshot):
    """One GPU with its holder: the snapshot's fields plus what the queue knows."""

    holder: Holder
    """Its holder; of several, the first."""
    holders: list[Holder] = Field(default_factory=list)
    """All holders: several where jobs share the GPU, oldest first; empty when free."""
    beside: list[Holder] = Field(default_factory=list)
    """External processes on it although a job leases it; an unleased GPU has them as holder."""
    memory_leased_bytes: int | None = None
    """Total memory leased by shares on it, bytes; absent unless it is shared."""
    memory_to_share_bytes: int | None = None
    """Memory of it that further shares may get, bytes; 0 while an external process, a drain or a fault
    keeps new jobs off; absent unless it is shared."""
    blocked: str | None = None
    """Reason that no new job starts on it whoever holds it: external process, leftover, fault; absent when
    nothing keeps them off. A drain has fields of its own."""
    blocked_parts: Message = Message()
    """The sentence as typed parts."""
    draining: bool = False
    """No new job starts on it."""
    drain_reason: str | None = None
    """Reason given for the drain."""
    drain_until: UtcTime | None = None
    """End of the drain; absent: until it is undrained."""
    reservations: list[Reservation] = Field(default_factory=list)
    """Current and future reservations of it, soonest first."""


class Box(Wire):
    """The whole box, as `GET /gpus` returns it."""

    hostname: str
    """The box's name."""
    taken_at: UtcTime | None = None
    """Time of the last snapshot; absent before the first."""
    stale: bool = False
    """The last snapshot is older than 10 seconds: the worker is down or stuck."""
    source: str | None = None
    """`nvml`, `simulated` or `slurm`; absent before the first snapshot."""
    driver_version: str | None = None
    """Version of the NVIDIA driver."""
    fence: FenceKind | None = None
    """The fence in force; absent before the worker reported."""
    gpus: list[Gpu] = Field(default_factory=list)
    """In index order."""
    links: list[list[str]] = Field(default_factory=list)
    """Square matrix in index order, as `nvidia-smi topo -m` names them."""
    free_indices: list[int] = Field(default_factory=list)
    """GPUs on which a job of the caller could start now: not held, drained, unhealthy, used by an
    external process, or reserved for others at this moment."""
    reserved_indices: list[int] = Field(default_factory=list)
    """GPUs that only a reservation for others keeps from the caller now."""
    next_free: NextFree | None = None
    """The next GPU to come free for the caller; absent where none has a known end."""
    sentence: str
    """For people, e.g. "3 of 8 GPUs free, next free GPU in about 40m"."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class DrainRequest(Wire):
    """Request to drain a GPU."""

    reason: str | None = Field(default=None, max_length=500, examples=["new fan on Thursday"])
    """Shown beside the GPU until it is undrained."""
    until: UtcTime | None = Field(default=None, examples=["2026-11-26T18:00:00Z"])
    """End of the drain; default: until it is undrained."""
