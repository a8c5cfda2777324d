"""
Between server and worker: the server's desired state, the worker's observed state.

Both are level-triggered and idempotent by attempt id. A lost message is repaired by the
next one; a repeated message changes nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.attempts import LaunchFacts
from berth.protocol.base import Bytes, Duration, UtcTime, Wire
from berth.protocol.gpus import BoxSnapshot
from berth.protocol.states import FenceKind, Outcome


class LeasedGpu(Wire):
    """A GPU that an attempt holds."""

    uuid: str
    """The driver's UUID."""
    index: int
    """The box's index in PCI bus order."""
    minor: int | None = None
    """N of /dev/nvidiaN."""


class FrozenCode(Wire):
    """The code that an attempt runs instead of what lies in its folder."""

    archive: str
    """Absolute path of the tar that `berth.snapshots` made."""
    digest: str
    """Its SHA-256."""
    subdir: str
    """Folder in its tree that the job runs in."""
    commit: str | None = None
    """The commit that was checked out."""


class CommandBeside(Wire):
    """A command to start beside a running job, once."""

    number: int
    """Higher than that of every earlier one of the attempt."""
    argv: list[str]
    """The program and its arguments."""
    terminal: bool = False
    """True for a pseudo-terminal, false for pipes."""
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Variables beside those of the job."""


class DesiredAttempt(Wire):
    """An attempt that the server wants to exist, to stop, or to be cleaned up."""

    attempt: str
    """`42.1`."""
    token: str
    """Unguessable; every report about the attempt carries it, a stale one is dropped."""
    action: Literal["run", "stop"]
    """`run`: start it if it never was, keep it otherwise. `stop`: bring it to its end."""
    stop_reason: Outcome | None = None
    """With `stop`: the outcome it will be given (`cancelled`, `preempted`, `escaped`)."""
    run_dir: str
    """Absolute folder of the attempt; made by the worker."""
    job_id: int
    """Id of its job."""
    number: int
    """1 for the job's first."""
    user: str
    """Name of the job's user."""
    uid: int | None = None
    """User id that the job runs as, when the worker is root; absent: as the worker."""
    command: list[str] | str | None = None
    """As submitted; absent when `script` is given."""
    script: str | None = None
    """Script to run by the interpreter it names; absent when `command` is given."""
    script_file: str | None = None
    """Its `$0`."""
    workdir: str
    """Absolute folder to run in."""
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Extra environment, values in clear."""
    snapshot: FrozenCode | None = None
    """Code to run instead of what lies in `workdir` now."""
    python: str | None = None
    """Interpreter or environment folder; absent: the worker's own."""
    gpus: tuple[LeasedGpu, ...]
    """In index order; empty for a job without GPUs."""
    nodes: int = 1
    """On a cluster: how many nodes they are on, as many on each."""
    master_port: int | None = None
    """The leased rendezvous port; absent without GPUs."""
    time_limit: Duration | None = None
    """Longest run time; absent: none."""
    grace: Duration
    """Time between TERM and KILL."""
    warn_before: Duration
    """Time between the warning signal and the time limit; with `preempted`, the time that the
    job may take to save after it before TERM."""
    gpu_memory: Bytes | None = None
    """Minimum memory of each GPU, bytes; with `share`, the part of the GPU that it leases."""
    share: bool = False
    """It holds `gpu_memory` of one GPU beside other attempts."""
    examine: int = 0
    """Number of the look at its processes that is asked for; 0 for none."""
    beside: tuple[CommandBeside, ...] = ()
    """Commands to start beside it; one that was started stays for a while."""


class DesiredState(Wire):
    """Every attempt that the worker should handle; attempts not listed are forgotten."""

    generation: int
    """Increases with every change; pass the last one seen to wait for the next."""
    attempts: tuple[DesiredAttempt, ...] = ()
    """In order of job id."""


class ExitRecord(Wire):
    """Content of exit.json, written by the shim: the authoritative end of an attempt."""

    attempt: str
    """Like `42.1`."""
    exit_code: int | None = None
    """Exit code of the job's first process; absent when a signal ended it or none started."""
    signal: int | None = None
    """The signal that ended the job's first process, if one did."""
    cause: Literal["exit", "time_limit", "stopped", "launch_error"]
    """`exit`: by itself. `time_limit`: the shim's own clock. `stopped`: on request."""
    message: str | None = None
    """With `launch_error`: the sentence."""
    port_taken: bool = False
    """With `launch_error`: somebody else had its rendezvous port."""
    prologue_failed: bool = False
    """With `launch_error`: the admin's prologue failed; on other GPUs it may run."""
    started_at: UtcTime | None = None
    """Start of the job's first process; absent when none was started."""
    ended_at: UtcTime
    """End of the last of its processes."""
    max_rss_bytes: int | None = None
    """Largest resident memory of any one of its processes, bytes."""
    user_cpu_s: float | None = None
    """Processor time in user mode, all processes, seconds."""
    system_cpu_s: float | None = None
    """Processor time in the kernel, all processes, seconds."""
    killed: int = 0
    """Number of processes that had to be killed after the grace or after the job's own end."""


class ExaminedProcess(Wire):
    """One process of an attempt over a few seconds."""

    pid: int
    """Process id on the box."""
    cpu: float
    """Part of one processor that it used."""
    io_bytes_s: float
    """Bytes that it read and wrote, a second."""
    gpu: int | None = None
    """The box's index of a GPU that it is on."""
    rank: int | None = None
    """Its rank, where its environment says so."""
    debugged: bool = False
    """A debugger or profiler is attached to it, or it was stopped by hand."""


class Examination(Wire):
    """Look at all processes of an attempt."""

    number: int
    """The number in `DesiredAttempt.examine`."""
    processes: tuple[ExaminedProcess, ...] = ()
    """Those that are alive."""
    stacks: str | None = None
    """File with the Python stacks of its ranks; absent where py-spy is not installed."""


class ObservedAttempt(Wire):
    """One attempt as the worker knows it."""

    attempt: str
    """Like `42.1`."""
    token: str
    """The token it was given; a report with another one is dropped."""
    phase: Literal["starting", "running", "stopping", "ended"]
    """Its phase."""
    started_at: UtcTime | None = None
    """Start of the job's first process."""
    saved_at: UtcTime | None = None
    """Time of the job's last complete checkpoint."""
    launch: LaunchFacts | None = None
    """Facts about its start; reported at least once."""
    placed: tuple[LeasedGpu, ...] = ()
    """On a cluster: the GPUs that Slurm gave it, once they are known; empty on a box."""
    waiting: str | None = None
    """On a cluster: where it stands in Slurm's own queue; absent once it has left it."""
    exit: ExitRecord | None = None
    """With `ended`, unless the outcome is `lost` or the attempt never started."""
    outcome: Outcome | None = None
    """With `ended`: the worker's diagnosis."""
    message: str | None = None
    """With `ended`: one sentence that names the fix."""
    port_taken: bool = False
    """With `ended`: somebody else had its rendezvous port; on another port it may run."""
    examination: Examination | None = None
    """The last look at its processes that was asked for."""
    epilogue_failed: str | None = None
    """With `gpus_clear`: the sentence about the admin's epilogue, which failed."""
    gpus_clear: bool = False
    """With `ended`: no process of it is left and the driver shows its memory gone."""


class WorkerReport(Wire):
    """Everything the worker sees, sent at every change and at least every second."""

    worker_id: str
    """Another one for each start of a worker."""
    boot_id: str
    """The kernel's boot id."""
    fence: FenceKind
    """The fence that attempts get."""
    version: str
    """The worker's version of Berth."""
    snapshot: BoxSnapshot | None = None
    """Absent when nothing about the devices changed since the last report."""
    attempts: tuple[ObservedAttempt, ...] = ()
    """Every attempt it knows and has not been asked to forget."""
