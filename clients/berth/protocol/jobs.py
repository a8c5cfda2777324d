"""Jobs on the wire, as users see and change them."""

from __future__ import annotations

from typing import cast

from pydantic import (
    Field,
    FieldSerializationInfo,
    field_serializer,
)

from berth.protocol.attempts import Attempt, CodeSnapshot
from berth.protocol.base import Duration, TimeLimit, UtcTime, Wire
from berth.protocol.dependencies import Dependency
from berth.protocol.message import Message
from berth.protocol.progress import ExpectedLength, GpuUsage, Progress, RunTrouble
from berth.protocol.specs import (
    OnStall,
    OomLadder,
    shown,
)
from berth.protocol.states import JobState, Outcome


class JobLink(Wire):
    """A page about a job elsewhere."""

    name: str = Field(examples=["W&B"])
    """The tracker, or the name that the job gave it."""
    url: str = Field(examples=["https://wandb.ai/lab/twins/runs/8x2k1f"])
    """Address on the web, without credentials."""


class Job(Wire):
    """A job as every user sees it: its request, its state and its end."""

    id: int
    """Never used twice."""
    name: str
    """Short name for lists."""
    state: JobState
    """Stage of its life."""
    outcome: Outcome | None = None
    """Reason for its end; absent until then."""
    message: str | None = None
    """One sentence about the end of the last attempt."""
    message_parts: Message = Message()
    """The message as typed parts; empty without one."""
    user: str
    """Name of the user who submitted it."""
    command: list[str] | str | None = None
    """As submitted; absent when `script` was."""
    script: str | None = None
    """Script as submitted; absent when `command` was."""
    script_file: str | None = None
    """The file that it was read from, as far as that is known."""
    gpus: int
    """Number of its GPUs."""
    nodes: int | None = None
    """On a cluster: how many nodes they are on, as many on each; absent for one."""
    progress: Progress | None = None
    """Progress; absent unless it runs and something tells."""
    trouble: RunTrouble | None = None
    """The loss of the last attempt is NaN, infinite, or has run away; absent while it has not."""
    usage: GpuUsage | None = None
    """Usage of GPUs of all its attempts; absent like theirs."""
    gpu_memory: int | None = None
    """Minimum memory of each GPU, bytes; with `share`, the part of the GPU that it leases."""
    share: bool = False
    """True if it uses part of one GPU beside other jobs."""
    gpu_indices: list[int] = Field(default_factory=list)
    """The box's indices of the GPUs it holds, or held last."""
    gpu_uuids: list[str] = Field(default_factory=list)
    """UUIDs of the same GPUs, in the same order."""
    workdir: str
    """Absolute folder it runs in."""
    env: dict[str, str] = Field(default_factory=dict)
    """Extra environment; secret-looking values are masked."""
    python: str | None = None
    """Interpreter or environment folder it runs in; absent: Berth's own."""
    priority: int
    """Higher starts first."""
    time_limit: Duration | None = None
    """Longest run time of one attempt; absent: none."""
    grace: Duration
    """Time between the stop signal (TERM) and KILL."""
    warn_before: Duration
    """Time between the warning signal and the time limit."""
    retries: int
    """Number of further attempts after a failed one."""
    on_oom: OomLadder | None = None
    """Steps that are tried when it dies of GPU memory."""
    on_stall: OnStall = "warn"
    """Action when it has stalled."""
    dependencies: list[Dependency] = Field(default_factory=list)
    """The same jobs, and how each of them has to end."""
    depends_on: list[int] = Field(default_factory=list)
    """Ids of the jobs that must have succeeded first."""
    not_before: UtcTime | None = None
    """Earliest start."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Free key-value pairs."""
    preemptible: bool = False
    """True if it may be stopped and requeued in favour of others."""
    snapshot: CodeSnapshot | None = None
    """The code it runs, frozen when it was submitted; absent: the files as they are."""
    notify_on: list[str] = Field(default_factory=list)
    """Reasons for notices to `notify`."""
    notify: list[str] = Field(default_factory=list)
    """URLs that are posted to when the job ends; shown without credentials."""
    links: list[JobLink] = Field(default_factory=list)
    """Its pages at W&B, MLflow, TensorBoard and others, found in its log or reported by it."""
    attempts: list[Attempt] = Field(default_factory=list)
    """In order; empty until the first."""
    queued_at: UtcTime
    """Time of the submit."""
    started_at: UtcTime | None = None
    """Start of the last attempt."""
    ended_at: UtcTime | None = None
    """Time of its end; absent until then."""
    exit_code: int | None = None
    """Exit code of the last attempt; 128 + N when signal N ended it."""
    position: int | None = None
    """1 for the next to start; absent when not queued."""
    expected_start: UtcTime | None = None
    """Median of when it should start; absent when nothing is known."""
    expected_start_p90: UtcTime | None = None
    """Nine of ten times it has started by then; absent like `expected_start`."""
    expected_length: ExpectedLength | None = None
    """Expected run time; absent once it has started, and when nothing is known."""
    reason: str | None = None
    """Reason that it is not running, one sentence; absent when it runs or has ended."""
    reason_parts: Message = Message()
    """The reason as typed parts; empty without one."""
    alerts: list[str] = Field(default_factory=list)
    """Alerts while it runs, one sentence each: no steps any more, a GPU unlike the
    others, a loss that is not finite, a time limit that it will not keep."""
    alerts_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""
    warnings: list[str] = Field(default_factory=list)
    """Notes and warnings of its submit, one sentence each."""
    warnings_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""

    # One serializer a type: its return annotation is the field's type in the OpenAPI document.
    @field_serializer("env", "labels")
    def _mask_map(self, value: dict[str, str], info: FieldSerializationInfo) -> dict[str, str]:
        return cast("dict[str, str]", shown(info.field_name, value))

    @field_serializer("command")
    def _mask_command(self, value: list[str] | str | None) -> list[str] | str | None:
        return cast("list[str] | str | None", shown("command", value))

    @field_serializer("script")
    def _mask_script(self, value: str | None) -> str | None:
        return cast("str | None", shown("script", value))

    @field_serializer("notify")
    def _mask_notify(self, value: list[str]) -> list[str]:
        return cast("list[str]", shown("notify", value))

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Hide secrets, as in `JobSpec`."""
        return [
            (name, shown(name, value) if name is not None else value)
            for name, value in super().__repr_args__()
        ]


class JobPage(Wire):
    """One page of jobs, newest first."""

    jobs: list[Job]
    """Newest first."""
    next_cursor: str | None = None
    """Pass as `cursor` for the next page; absent on the last."""


class JobPatch(Wire):
    """Changes to a job that has not started; one that runs can be given a longer time limit."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    """New name."""
    priority: int | None = Field(default=None, ge=-1000, le=1000)
    """New priority; higher starts first."""
    time_limit: TimeLimit | None = None
    """New longest run time of an attempt; null lifts it."""
    gpus: int | None = Field(default=None, ge=1, le=1024)
    """New number of GPUs; not for a job with a share of one, or over several nodes."""
    preemptible: bool | None = None
    """True if it may be stopped and queued again in favour of others."""


class JobCounts(Wire):
    """Number of jobs in each state."""

    counts: dict[JobState, int]
    """Every state is there, with 0 where no job is in it."""
