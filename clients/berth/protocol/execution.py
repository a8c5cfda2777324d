"""Commands beside running jobs: the request to start one and its answer."""

from __future__ import annotations

from pydantic import Field

from berth.protocol.base import Wire
from berth.protocol.specs import EnvName, Text, Value


class Execution(Wire):
    """A command to run beside a running job, in its fence, as its user."""

    command: list[Text] = Field(
        min_length=1, max_length=1000, examples=[["py-spy", "dump", "--pid", "4711"]]
    )
    """Program and arguments; relative paths begin in the job's folder."""
    terminal: bool = False
    """Give it a pseudo-terminal; otherwise its two outputs come apart."""
    env: dict[EnvName, Value] = Field(default_factory=dict, max_length=20)
    """Variables beside those of the job."""


class ExecutionStarted(Wire):
    """Place at which the command is reached: on the box, by the job's user."""

    attempt: str = Field(examples=["42.1"])
    """The attempt that it runs beside."""
    socket: str = Field(examples=["/var/lib/berth/runs/42/1/files/exec-1.sock"])
    """Absolute path of its unix socket; it appears within moments, and takes one connection."""
