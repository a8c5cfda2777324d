"""Specs of jobs: the request (`JobSpec`) and the types of its values."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self, cast

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    model_validator,
)

from berth import masking
from berth.protocol import dependencies
from berth.protocol.base import Bytes, Duration, TimeLimit, UtcTime, Wire
from berth.protocol.dependencies import DependencyKind, DependencyRef
from berth.protocol.message import Span, quoted
from berth.protocol.problems import InvalidField
from berth.units import parse_duration

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
        raise ValueError(f"{value!r} is not a web address; write it like https://host/path.")
    return value


def _notice_kind(value: str) -> str:
    kind, _, after = value.partition(":")
    if kind == "waiting" and after:
        parse_duration(after)
    elif value not in NOTICE_KINDS:
        kinds = ", ".join(NOTICE_KINDS)
        raise ValueError(f"{value!r} is no kind of notice; write {kinds} or waiting:2h.")
    return value


NOTICE_KINDS = ("start", "end", "failure", "trouble")
"""Kinds of notices without a value of their own."""
Text = Annotated[str, AfterValidator(_without_nul)]
# The kernel starts no program with a longer word or variable.
_LONGEST_WORD = 131_071
_MOST_WORDS = 10_000
Value = Annotated[str, StringConstraints(max_length=_LONGEST_WORD), AfterValidator(_without_nul)]
FilePath = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_without_nul)]
Webhook = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_webhook)]


NoticeKind = Annotated[str, AfterValidator(_notice_kind)]
"""`start`, `end`, `failure`, `trouble`, or `waiting:2h`: when notices go out."""


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
    """Path of the file that `script` was read from; its `$0`."""
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
    """Action when it makes no more steps and neither its GPUs nor its processes work."""
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
    """Run the files of `workdir`'s git work tree as they are now; later edits have no effect."""
    notify: list[Webhook] = Field(default_factory=list, max_length=20)
    """Addresses that get the job's notices: webhook URLs, and addresses of the kinds that the setting
    `notify_schemas` allows, like `mailto://…`."""

    notify_on: list[NoticeKind] = Field(
        default=["end", "trouble"], max_length=10, examples=[["failure", "waiting:2h"]]
    )
    """Reasons for notices: `start` and `end` of the job, `failure` alone, `trouble` while it runs
    (stuck, idle, will not keep its limit, loss not finite), `waiting:2h` when it waits for longer."""

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
            (name, shown(name, value) if name is not None else value)
            for name, value in super().__repr_args__()
        ]


def shown(name: str, value: object) -> object:
    """Shown value of a field of a job: without secrets."""
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
