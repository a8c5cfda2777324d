"""Submits on the wire: launches found in a text, dry run, variants, answer; commands beside jobs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.attempts import Change
from berth.protocol.base import Duration, UtcTime, Wire
from berth.protocol.explain import Reason
from berth.protocol.message import Message
from berth.protocol.progress import ExpectedLength
from berth.protocol.specs import EnvName, Text, Value
from berth.protocol.states import Launcher


class TextToParse(Wire):
    """A text with commands in it: a shell session, a guide in Markdown, a message."""

    text: Text = Field(
        max_length=262_144,
        examples=["$ torchrun --nproc-per-node=4 train.py\\n$ deepspeed --num_gpus=2 other.py"],
    )
    """The text as it was copied."""


class ParsedLaunch(Wire):
    """One launch of the text: what it is, how many GPUs it asks for, what will be rewritten."""

    line: int
    """The line of the text where it begins, from 1."""
    comment: str | None = None
    """The comment right before it; absent when there is none."""
    command: str | None = Field(default=None, examples=["torchrun --nproc-per-node=4 train.py"])
    """The job's `command`: the launch with the lines that prepare its shell; absent for a script."""
    script: str | None = None
    """The job's `script`; absent for a command."""
    launcher: Launcher
    """Launcher of the ranks."""
    gpus: int | None = None
    """Number of GPUs that it asks for; absent when it does not say, and it gets one."""
    tasks: list[int] = Field(default_factory=list)
    """The task numbers of a script's `#SBATCH --array`, a job each."""
    reading: list[str] = Field(default_factory=list)
    """Account of how it was read, one sentence each, notes and warnings last."""
    before: str
    """The command on one line, secrets masked."""
    after: str | None = None
    """The command as it would be started; GPUs and port are an example."""
    changes: list[Change] = Field(default_factory=list)
    """Everything that will be rewritten, and why."""
    problem: str | None = None
    """Reason that it cannot be submitted, one sentence; absent when it can."""


class ParsedText(Wire):
    """The launches of a text, in its order, each once. Nothing was submitted."""

    jobs: list[ParsedLaunch] = Field(default_factory=list)
    """The launches; empty when the text has none."""


class SubmittedJobs(Wire):
    """Answer to a list of specs: all of them are on disk, in one transaction."""

    ids: list[int] = Field(examples=[[42, 43, 44]])
    """Ids in the order of the list, increasing."""
    warnings: list[str] = Field(default_factory=list)
    """Notes and warnings, one sentence each, without repetition."""
    warnings_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""


class DryRun(Wire):
    """Outcome of a spec if it were submitted now. Nothing is written."""

    gpus: int
    """Number of GPUs that it would get."""
    starts_now: bool
    """True if it would start at once."""
    gpu_indices: list[int] = Field(default_factory=list)
    """With `starts_now`: the box's indices of the GPUs."""
    position: int | None = None
    """Place in the queue otherwise; 1 for the next to start."""
    expected_start: UtcTime | None = None
    """Expected start otherwise; absent when nothing is known."""
    expected_start_p90: UtcTime | None = None
    """Nine of ten times it has started by then; absent like `expected_start`."""
    expected_length: ExpectedLength | None = None
    """Expected run time; absent when nothing is known."""
    confidence: Literal["certain", "likely", "guess", "unknown"] = "unknown"
    """Confidence in `expected_start`, as in an explanation."""
    summary: str
    """One sentence."""
    summary_parts: Message = Message()
    """The summary as typed parts."""
    summary_reason: int | None = None
    """The place in `reasons`, from 0, of the one that the summary repeats; absent for none."""
    reasons: list[Reason] = Field(default_factory=list)
    """Everything that would keep it from starting, gravest first, as in an explanation."""
    would_help: list[str] = Field(default_factory=list)
    """Hints that would start it sooner, one sentence each."""
    would_help_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""
    would_preempt: list[int] = Field(default_factory=list)
    """Ids of the preemptible jobs that would be stopped and queued again to make room for it."""
    launcher: Launcher
    """Launcher that would start the ranks."""
    before: str
    """The command as given, one line."""
    after: str | None = None
    """The command as it would be started (the port is an example); absent for scripts."""
    changes: list[Change] = Field(default_factory=list)
    """Everything that differs between the two, and why."""
    warnings: list[str] = Field(default_factory=list)
    """Warnings that a submit would give, one sentence each."""
    warnings_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""


class WhatIfOption(Wire):
    """A job with one thing changed, and when it would start then."""

    varies: Literal["nothing", "gpus", "time_limit", "share", "preemptible"]
    """The thing that differs from what was asked for."""
    gpus: int
    """Number of GPUs."""
    time_limit: Duration | None = None
    """Longest run time; absent: none."""
    gpu_memory: int | None = None
    """Least memory of each GPU, bytes; with `share`, the part of the GPU."""
    share: bool = False
    """True if it takes part of one GPU."""
    preemptible: bool = False
    """True if it may be stopped and queued again in favour of others."""
    starts_now: bool
    """True if it would start at once."""
    gpu_indices: list[int] = Field(default_factory=list)
    """With `starts_now`: the box's indices of the GPUs; else those that are expected."""
    position: int | None = None
    """Place in the queue otherwise."""
    expected_start: UtcTime | None = None
    """Expected start otherwise; absent when nothing is known."""
    expected_start_p90: UtcTime | None = None
    """Nine of ten times it has started by then."""
    expected_end: UtcTime | None = None
    """Expected end; absent when nothing is known."""
    confidence: Literal["certain", "likely", "guess", "unknown"] = "unknown"
    """Confidence in the times."""
    would_preempt: list[int] = Field(default_factory=list)
    """Ids of the jobs that would be stopped and queued again to make room for it."""


class WhatIf(Wire):
    """Starts of a job as it is, and with one change at a time. Nothing is written."""

    options: list[WhatIfOption]
    """The job as it is first, then by what varies: GPUs, time limit, share, preemptible."""


class Execution(Wire):
    """A command to run beside a running job, in its fence, as its user."""

    command: list[Text] = Field(
        min_length=1, max_length=1000, examples=[["py-spy", "dump", "--pid", "4711"]]
    )
    """Program and arguments; relative paths begin in the job's folder."""
    terminal: bool = False
    """Give it a pseudo-terminal; otherwise stdout and stderr are separate."""
    env: dict[EnvName, Value] = Field(default_factory=dict, max_length=20)
    """Variables beside those of the job."""


class ExecutionStarted(Wire):
    """Address of the command: on the box, for the job's user."""

    attempt: str = Field(examples=["42.1"])
    """The attempt that it runs beside."""
    socket: str = Field(examples=["/var/lib/berth/runs/42/1/files/exec-1.sock"])
    """Absolute path of its unix socket; it appears within moments, and accepts one connection."""
