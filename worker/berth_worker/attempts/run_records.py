"""Records in a run directory, written by shims and workers, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from berth.daemons.identity import Identity
from berth.protocol.attempts import LaunchFacts
from berth.protocol.base import UtcTime, Wire
from berth.protocol.internal import ExitRecord


class Named(Wire):
    """The part of every record that says whose it is."""

    attempt: str
    """Like `42.1`."""
    token: str | None = None
    """The attempt's token; absent in records of earlier versions."""


class ProcessId(Wire):
    """A process: pid, start time and boot."""

    pid: int
    start_ticks: int
    boot_id: str

    def identity(self) -> Identity:
        """Return it as an identity that can be asked whether it lives."""
        return Identity(self.pid, self.start_ticks, self.boot_id)


class Claim(Named, ProcessId):
    """Content of `started`: the one process that may start the attempt."""

    refused: bool = False
    """The attempt was stopped before its start and will never start."""
    slurm_job: int | None = None
    """The Slurm job whose batch process it is; absent on the box itself."""


class ShimRecord(Named):
    """Content of shim.json, written by the shim once the job's first process runs."""

    shim: ProcessId
    first: ProcessId
    started_at: UtcTime
    oom_kills: int | None = None
    """The kernel's count of memory kills soon after the start; absent at the very start."""


class ExitFile(ExitRecord):
    """Content of exit.json: the exit record with the attempt's token."""

    token: str | None = None
    """The attempt's token; absent in records of earlier versions."""

    def record(self) -> ExitRecord:
        """Return the record as the server gets it."""
        return ExitRecord.model_validate(self.model_dump(exclude={"token"}))


class LaunchFile(Wire, extra="ignore"):
    """The part of launch.json that a worker reads again."""

    attempt: str
    token: str | None = None
    facts: LaunchFacts


class SpecFile(Wire, extra="ignore"):
    """The part of spec.json that names the attempt."""

    attempt: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class RunDirState:
    """The state of an attempt as its run directory shows it."""

    kind: Literal["unstarted", "blocked", "alive", "ended", "lost", "foreign"]
    """`blocked`: it was stopped before its start and never will start. `lost`: the shim is gone
    and left no record. `foreign`: the records are those of another attempt."""
    shim: Identity | None = None
    shim_record: ShimRecord | None = None
    """Absent when the job's first process never ran, or the shim has not written it yet."""
    exit_record: ExitRecord | None = None
    facts: LaunchFacts | None = None
