"""Jobs on the wire: the request (`JobSpec`) and its progress (`Job`, `Attempt`)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self, cast

from pydantic import (
    AfterValidator,
    Field,
    FieldSerializationInfo,
    StringConstraints,
    field_serializer,
    model_validator,
)

from berth import masking
from berth.protocol import dependencies
from berth.protocol.base import Bytes, Duration, TimeLimit, UtcTime, Wire
from berth.protocol.dependencies import Dependency, DependencyKind, DependencyRef
from berth.protocol.message import Message, Span, quoted
from berth.protocol.placement import Placement
from berth.protocol.problems import InvalidField
from berth.protocol.progress import ExpectedLength, GpuUsage, Progress, RunTrouble
from berth.protocol.states import AttemptState, FenceKind, JobState, Launcher, Outcome

OnStall = Literal["warn", "stop", "retry"]
"""Action on a stalled job: say so; end it; end the attempt and try again once, or as often as its
`retries` allow."""
WARN_BEFORE = timedelta(seconds=60)
"""Time before the time limit at which a job is warned that does not say."""

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LabelValue = Annotated[str, StringConstraints(max_length=1000)]
JobId = Annotated[int, Field(ge=1, le=2**63 - 1)]


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("It holds a NUL character, which no program can be given; take it out.")
    return value


def _webhook(value: str) -> str:
    if not re.match(r"https?://[^/\s]+|(?!https?:)[a-z][a-z0-9+.-]*://\S+", value):
        raise ValueError(f"{value!r} is not a web address; write like https://host/path.")
    return value


Text = Annotated[str, AfterValidator(_without_nul)]
# The kernel starts no program with a longer word or variable.
_LONGEST_WORD = 131_071
_MOST_WORDS = 10_000
Value = Annotated[str, StringConstraints(max_length=_LONGEST_WORD), AfterValidator(_without_nul)]
FilePath = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_without_nul)]
Webhook = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_webhook)]


class OomLadder(Wire):
    """Changes to make before the next attempt after a GPU out-of-memory."""

    steps: tuple[Literal["halve_micro_batch", "checkpointing", "offload"], ...] = ()
    """Steps in order, one per retry; the global batch stays the same."""


class JobSpec(Wire):
    """One job as a user asks for it. Exactly one of `command` and `script` is given."""

    name: Text | None = Field(default=None, max_length=200, examples=["persona-history"])
    """Short name for lists; default: made from the command."""
    command: list[Text] | Text | None = Field(
        default=None,
        examples=["deepspeed --num_gpus=4 train_deepspeed.py --config config.json"],
    )
    """Argument list, or one shell-quoted line exactly as it would be typed."""
    script: Text | None = Field(default=None, max_length=1_000_000)
    """Script instead of `command`, run by the interpreter of its `#!` line, else by /bin/bash."""
    script_file: FilePath | None = Field(default=None, examples=["/home/ada/twin/train.sh"])
    """Path of the file that `script` was read from, which its $0 says."""
    gpus: int | None = Field(default=None, ge=0, le=1024, examples=[4])
    """Number of GPUs; default: what the command asks for, else 1. 0 means no GPU."""
    nodes: int | None = Field(default=None, ge=1, le=1024, examples=[2])
    """On a cluster: how many nodes the GPUs are on, as many on each; default: what the command
    asks for, else 1."""
    gpus_per_node: int | None = Field(default=None, ge=1, le=64, examples=[8])
    """On a cluster: how many GPUs of each node, in place of `gpus`."""
    gpu_memory: Bytes | None = Field(default=None, ge=1, examples=["40GiB"])
    """Minimum memory of each GPU, bytes; with `share`, the part of the GPU to lease."""
    share: bool = False
    """Use `gpu_memory` of one GPU beside other jobs instead of the whole GPU."""
    workdir: FilePath | None = Field(default=None, examples=["/home/ada/twin"])
    """Absolute folder to run in; default: the submitting client's, else the user's home."""
    env: dict[EnvName, Value] = Field(default_factory=dict, max_length=1000)
    """Extra environment variables. Values of secret-looking names are never shown again."""
    python: FilePath | None = Field(default=None, examples=["/home/ada/envs/twin"])
    """Interpreter or environment folder to run in; default: the one Berth runs in."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Higher starts first."""
    time_limit: TimeLimit | None = Field(default=None, examples=["12h"])
    """Longest run time of one attempt; then warning, TERM, grace, KILL."""
    grace: Duration = Field(default=timedelta(seconds=60), examples=["60s"])
    """Time between the stop signal (TERM) and KILL."""
    warn_before: Duration = Field(default=WARN_BEFORE, examples=["5m"])
    """Time before the time limit at which SIGUSR1 goes to those processes that handle it, and how
    long a preempted job may take to save before TERM."""
    retries: int = Field(default=0, ge=0, le=100)
    """Number of further attempts after a failed one."""
    on_oom: OomLadder | None = None
    """Steps to try when the run dies of GPU memory."""
    on_stall: OnStall = "warn"
    """Action when it makes no step any more and none of its GPUs and processes works."""
    depends_on: list[DependencyRef] = Field(
        default_factory=list, max_length=1000, examples=[[41, "afterany:40"]]
    )
    """Jobs that must have ended first: an id (or `afterok:41`) succeeded, `afterany:41` however,
    `afternotok:41` failed or cancelled."""
    not_before: UtcTime | None = None
    """Earliest start."""
    hold: bool = False
    """Submit as `held`; `release` queues it."""
    labels: dict[Label, LabelValue] = Field(
        default_factory=dict, max_length=100, examples=[{"ablation": "profile_only"}]
    )
    """Free key-value pairs to filter by."""
    preemptible: bool = False
    """True if it may be stopped, saved and requeued in favour of others."""
    snapshot: bool = False
    """Run the files of `workdir`'s git work tree as they are now, whatever is edited later."""
    notify: list[Webhook] = Field(default_factory=list, max_length=20)
    """Addresses that are told about the end: webhook URLs, and addresses of the kinds that the setting
    `notify_schemas` allows, like `mailto://…`."""

    @model_validator(mode="after")
    def _one_of_command_and_script(self) -> Self:
        if (self.command is None) == (self.script is None):
            both = (quoted("command"), " and ", quoted("script"))
            raise InvalidField("command", "Give exactly one of ", *both, ".")
        if self.command is not None and not (
            self.command.strip() if isinstance(self.command, str) else self.command
        ):
            raise InvalidField("command", quoted("command"), " is empty; write what to run.")
        if self.script is not None and not self.script.strip():
            raise InvalidField("script", quoted("script"), " is empty; write what to run.")
        return self

    @model_validator(mode="after")
    def _words_that_a_program_can_have(self) -> Self:
        words = self.command if isinstance(self.command, list) else [self.command or ""]
        if len(words) > _MOST_WORDS or any(len(word) > _LONGEST_WORD for word in words):
            raise ValueError(
                f"'command' is longer than a program can be started with; write at most "
                f"{_MOST_WORDS:,} words of {_LONGEST_WORD:,} characters, and more into a file."
            )
        return self

    @model_validator(mode="after")
    def _each_dependency_once(self) -> Self:
        kinds: dict[int, DependencyKind] = {}
        for each in map(dependencies.parse, self.depends_on):
            if kinds.setdefault(each.job_id, each.kind) is not each.kind:
                raise ValueError(
                    f"'depends_on' names job {each.job_id} in two ways; keep one of them."
                )
        return self

    @model_validator(mode="after")
    def _share_of_one_gpu(self) -> Self:
        if not self.share:
            return self
        if self.gpu_memory is None:
            needs = (quoted("share"), " needs ", quoted("gpu_memory"))
            raise InvalidField("share", *needs, ": say how much of the GPU, like 20GiB.")
        if self.gpus not in {None, 1}:
            raise InvalidField(
                "gpus",
                "A share is part of one GPU, so ",
                quoted("gpus"),
                f" cannot be {self.gpus}; leave it out, or leave out ",
                quoted("share"),
                " for whole GPUs.",
            )
        return self

    @model_validator(mode="after")
    def _as_many_on_each_node(self) -> Self:
        nodes = self.nodes or 1
        if self.gpus is not None and self.gpus % nodes:
            raise InvalidField(
                "gpus",
                quoted("gpus"),
                f" of {self.gpus} cannot be spread evenly over {nodes} nodes; give a multiple.",
            )
        if None not in {self.gpus, self.gpus_per_node} and self.gpus != nodes * (
            self.gpus_per_node or 0
        ):
            raise InvalidField(
                "gpus_per_node",
                quoted("gpus"),
                f" of {self.gpus} and ",
                quoted("gpus_per_node"),
                f" of {self.gpus_per_node} disagree; give one of them.",
            )
        return self

    @model_validator(mode="after")
    def _warned_within_its_limit(self) -> Self:
        # The default stands for short limits too: the warning comes at half of them.
        asked = "warn_before" in self.model_fields_set
        if asked and self.time_limit is not None and self.warn_before > self.time_limit:
            raise InvalidField(
                "warn_before",
                quoted("warn_before"),
                " of ",
                Span(seconds=self.warn_before.total_seconds()),
                " is longer than the time limit of ",
                Span(seconds=self.time_limit.total_seconds()),
                "; give a shorter warning or a longer limit.",
            )
        return self

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Hide secrets: people paste reprs into chats and logs."""
        return [
            (name, _shown(name, value) if name is not None else value)
            for name, value in super().__repr_args__()
        ]


class CodeSnapshot(Wire):
    """A git work tree as it was when a job was submitted."""

    commit: str | None = Field(default=None, examples=["9f2c1e7a0b5d4c3f8e6a7b1c2d3e4f5a6b7c8d9e"])
    """The commit that was checked out; absent before the first."""
    branch: str | None = Field(default=None, examples=["main"])
    """The branch that was checked out; absent where none was."""
    root: str = Field(examples=["/home/ada/twin"])
    """Top folder of the work tree."""
    subdir: str = ""
    """Folder in it that the job runs in."""
    changed: int = 0
    """Tracked files that differed from the commit."""
    untracked: int = 0
    """Files that git neither tracked nor ignored; they are part of the snapshot."""
    files: int = 0
    """Number of copied files."""
    bytes: int = 0
    """Bytes of them."""
    diff_bytes: int = 0
    """Bytes of the difference to the commit, `GET /jobs/{id}/snapshot/diff`."""
    linked: list[str] = Field(default_factory=list, examples=[["data", "outputs"]])
    """Ignored files and folders, relative to `root`: links to where they are."""
    digest: str
    """SHA-256 of the archive, `GET /jobs/{id}/snapshot/archive`."""


class Change(Wire):
    """One thing that was changed in a command to make it safe, with the reason."""

    what: str = Field(examples=["--num_gpus=4"])
    """The user's words; empty when something was added."""
    became: str = Field(examples=["--world_info=…  (GPUs 4\N{EN DASH}7)"])
    """The words that run instead; empty when they were taken out."""
    why: str
    """The reason, one sentence."""


class LaunchFacts(Wire):
    """The start of an attempt as it really happened."""

    launcher: Launcher
    """Launcher of the ranks."""
    before: str
    """The command as submitted, one line."""
    after: str
    """The command as started, one line."""
    changes: tuple[Change, ...] = ()
    """Everything that differs, and why."""
    cuda_visible_devices: str
    """The value the job sees: counts from 0 inside a namespace fence, else the box's indices."""
    master_port: int | None = None
    """The rendezvous port leased to the attempt."""
    fence: FenceKind
    """The fence the attempt runs in."""


class Attempt(Wire):
    """One try at a job."""

    id: str = Field(examples=["42.1"])
    """Job id, a dot, the attempt's number from 1."""
    number: int
    """1 for the first."""
    state: AttemptState
    """Stage of its life."""
    outcome: Outcome | None = None
    """Reason for its end; absent until then."""
    message: str | None = None
    """One sentence about the end, naming the fix where there is one."""
    message_parts: Message = Message()
    """The message as typed parts; empty without one."""
    gpu_indices: list[int]
    """The box's indices of its GPUs, ascending."""
    gpu_uuids: list[str]
    """UUIDs of its GPUs, in the order of `gpu_indices`."""
    master_port: int | None = None
    """The rendezvous port leased to it; absent without GPUs."""
    created_at: UtcTime | None = None
    """Time at which its GPUs were leased."""
    started_at: UtcTime | None = None
    """Start of the job's first process."""
    saved_at: UtcTime | None = None
    """Time of its last complete checkpoint; absent when there is none."""
    ended_at: UtcTime | None = None
    """End of its last process; absent until then."""
    exit_code: int | None = None
    """Exit code; 128 + N when signal N ended it."""
    signal: int | None = None
    """The signal that ended it, if one did."""
    max_rss_bytes: int | None = None
    """Largest resident memory of any one of its processes, bytes."""
    run_dir: str
    """Folder with spec.json, launch.json, output.log, metrics.jsonl, exit.json."""
    usage: GpuUsage | None = None
    """Usage of its GPUs; absent without GPUs, and for attempts of earlier versions."""
    launch: LaunchFacts | None = None
    """The start as it really happened; absent until the worker reported it."""
    placement: Placement | None = None
    """Reason for these GPUs and no others; absent without GPUs."""


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
    notify: list[str] = Field(default_factory=list)
    """URLs that are posted to when the job ends; shown without credentials."""
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
        return cast("dict[str, str]", _shown(info.field_name, value))

    @field_serializer("command")
    def _mask_command(self, value: list[str] | str | None) -> list[str] | str | None:
        return cast("list[str] | str | None", _shown("command", value))

    @field_serializer("script")
    def _mask_script(self, value: str | None) -> str | None:
        return cast("str | None", _shown("script", value))

    @field_serializer("notify")
    def _mask_notify(self, value: list[str]) -> list[str]:
        return cast("list[str]", _shown("notify", value))

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Hide secrets, as in `JobSpec`."""
        return [
            (name, _shown(name, value) if name is not None else value)
            for name, value in super().__repr_args__()
        ]


def _shown(name: str, value: object) -> object:
    """Return the value of a job's field as it may be shown."""
    if name == "env":
        return masking.masked_env(cast("dict[str, str]", value))
    if name == "labels":
        labels = cast("dict[str, str]", value)
        return {key: masking.masked(text) for key, text in labels.items()}
    if name in {"command", "notify"} and isinstance(value, list):
        return masking.masked_words(cast("list[str]", value))
    return (
        masking.masked(value) if name in {"command", "script"} and isinstance(value, str) else value
    )


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


class JobCounts(Wire):
    """Number of jobs in each state."""

    counts: dict[JobState, int]
    """Every state is there, with 0 where no job is in it."""
