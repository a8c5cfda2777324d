"""Launches found in a pasted text, as jobs that could be submitted."""

from __future__ import annotations

from pydantic import Field

from berth.protocol.base import Wire
from berth.protocol.jobs import Change, Text
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
