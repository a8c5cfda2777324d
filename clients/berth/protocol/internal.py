"""
Between server and worker: the server's desired state, the worker's observed state.

Both are level-triggered and idempotent by attempt id. A lost message is repaired by the
next one; a repeated message changes nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import Bytes, Duration, UtcTime, Wire
from berth.protocol.gpus import BoxSnapshot
from berth.protocol.jobs import LaunchFacts
from berth.protocol.states import FenceKind, Outcome


class LeasedGpu(Wire):
    """A GPU that an attempt holds."""

    uuid: str
    index: int
    minor: int | None = None


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
    number: int
    user: str
    uid: int | None = None
    """Who the job runs as, when the worker is root; absent: as the worker."""
    command: list[str] | str | None = None
    script: str | None = None
    workdir: str
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    python: str | None = None
    gpus: tuple[LeasedGpu, ...]
    """In index order; empty for a job without GPUs."""
    master_port: int | None = None
    time_limit: Duration | None = None
    grace: Duration
    warn_before: Duration
    gpu_memory: Bytes | None = None


class DesiredState(Wire):
    """Everything the worker should be busy with; whatever is not listed is forgotten."""

    generation: int
    """Increases with every change; pass the last one seen to wait for the next."""
    attempts: tuple[DesiredAttempt, ...] = ()


class ExitRecord(Wire):
    """What the shim writes to exit.json: the truth about an attempt's end."""

    attempt: str
    exit_code: int | None = None
    """Exit code of the job's first process; absent when a signal ended it or none started."""
    signal: int | None = None
    cause: Literal["exit", "time_limit", "stopped", "launch_error"]
    """`exit`: by itself. `time_limit`: the shim's own clock. `stopped`: on request."""
    message: str | None = None
    """With `launch_error`: the sentence."""
    started_at: UtcTime | None = None
    ended_at: UtcTime
    max_rss_bytes: int | None = None
    user_cpu_s: float | None = None
    system_cpu_s: float | None = None
    killed: int = 0
    """How many processes had to be killed after the grace or after the job's own end."""


class ObservedAttempt(Wire):
    """What the worker knows of one attempt."""

    attempt: str
    token: str
    phase: Literal["starting", "running", "stopping", "ended"]
    started_at: UtcTime | None = None
    launch: LaunchFacts | None = None
    exit: ExitRecord | None = None
    """With `ended`, unless the outcome is `lost` or the attempt never started."""
    outcome: Outcome | None = None
    """With `ended`: the worker's diagnosis."""
    message: str | None = None
    """With `ended`: one sentence that names the mend."""
    gpus_clear: bool = False
    """With `ended`: no process of it is left and the driver shows its memory gone."""


class WorkerReport(Wire):
    """Everything the worker sees, sent at every change and at least every second."""

    worker_id: str
    boot_id: str
    fence: FenceKind
    version: str
    snapshot: BoxSnapshot | None = None
    """Absent when nothing about the devices changed since the last report."""
    attempts: tuple[ObservedAttempt, ...] = ()
