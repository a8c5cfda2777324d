"""
The run directory of an attempt: the files that a worker needs to take it up again.

It may belong to the user the job runs as, who can put anything there. Files that decide
something are trusted only when this worker's own user (or root) wrote them, and links are
never followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from berth import jobfiles
from berth.daemons import identity
from berth.daemons.identity import Identity
from berth.protocol.base import UtcTime, Wire
from berth.protocol.internal import ExitRecord
from berth.protocol.jobs import LaunchFacts
from berth_worker.shim import files

M = TypeVar("M", bound=BaseModel)
_LARGEST_BYTES = 4 << 20
SAVED = "saved.json"
"""Written by the job when a checkpoint is complete; its modification time counts."""


class _ProcessId(Wire):
    pid: int
    start_ticks: int
    boot_id: str

    def identity(self) -> Identity:
        return Identity(self.pid, self.start_ticks, self.boot_id)


class _Claim(_ProcessId):
    attempt: str
    refused: bool = False


class ShimRecord(Wire):
    """Content of shim.json, written by the shim once the job's first process runs."""

    attempt: str
    shim: _ProcessId
    first: _ProcessId
    started_at: UtcTime
    oom_kills: int | None = None
    """The kernel's count of memory kills soon after the start; absent at the very start."""


@dataclass(frozen=True, slots=True)
class RunDirState:
    """The state of an attempt as its run directory shows it."""

    kind: Literal["unstarted", "blocked", "alive", "ended", "lost"]
    """`blocked`: it was stopped before its start and never will start. `lost`: the shim is gone
    and left no record."""
    shim: Identity | None = None
    shim_record: ShimRecord | None = None
    """Absent when the job's first process never ran, or the shim has not written it yet."""
    exit_record: ExitRecord | None = None
    facts: LaunchFacts | None = None


class RunDir:
    """The run directory of one attempt."""

    def __init__(self, path: str, attempt: str) -> None:
        """`path` is absolute; nothing is touched yet."""
        self.path = Path(path)
        self.attempt = attempt

    def make(self) -> bool:
        """Make the folder; return False when it existed. Raises OSError."""
        try:
            self.path.mkdir(mode=0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            return self.make()
        return True

    def write(self, name: str, content: bytes, mode: int = 0o600, owner: int | None = None) -> None:
        """Write a file atomically. Raises OSError."""
        part = self.path / f"{name}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            os.write(fd, content)
            if owner is not None:
                os.fchown(fd, owner, -1)
        finally:
            os.close(fd)
        part.rename(self.path / name)

    def block(self) -> bool:
        """Claim the attempt so that no shim starts it; return False when one has claimed it."""
        who = identity.of(os.getpid())
        assert who is not None
        mine = {"pid": who.pid, "start_ticks": who.start_ticks, "boot_id": who.boot_id}
        return self._claim(mine | {"refused": True})

    def abandon(self) -> None:
        """Claim the attempt for a process that never existed: it counts as lost. Raises OSError."""
        self.make()
        self._claim({"pid": 0, "start_ticks": 0, "boot_id": ""})

    def _claim(self, claim: dict[str, Any]) -> bool:
        try:
            files.claim(str(self.path), claim | {"attempt": self.attempt})
        except files.AlreadyStartedError:
            return False
        return True

    def state(self) -> RunDirState:
        """Read the attempt's present state."""
        record = self.exit_record()
        started = self._read("started", _Claim)
        if record is None and started is None:
            if (self.path / "started").exists():  # not whole: the disk lost it in a power cut
                return RunDirState("lost", shim_record=self.shim_record(), facts=self._facts())
            return RunDirState("unstarted")
        shim = started.identity() if started else None
        if record is None and started is not None and started.refused:
            return RunDirState("blocked")
        shim_record = self.shim_record()
        if record is None and shim is not None and shim.alive:
            return RunDirState("alive", shim=shim, shim_record=shim_record, facts=self._facts())
        # It may have ended since the first read.
        record = record or self.exit_record()
        kind = "ended" if record else "lost"
        return RunDirState(kind, shim, shim_record, record, self._facts())

    def exit_record(self) -> ExitRecord | None:
        """Return the exit record, when there is one that can be trusted."""
        record = self._read("exit.json", ExitRecord)
        return record if record is not None and record.attempt == self.attempt else None

    def shim_record(self) -> ShimRecord | None:
        """Return the content of shim.json, when it is there."""
        record = self._read("shim.json", ShimRecord)
        return record if record is not None and record.attempt == self.attempt else None

    def failure(self) -> tuple[str | None, str | None]:
        """Return kind and sentence of failure.json, the job's own diagnosis; Nones without one."""
        return jobfiles.failure(jobfiles.written(self.path, "failure.json"))

    def saved_at(self) -> datetime | None:
        """Return the time of the job's last complete checkpoint; None when there is none."""
        fd = self._open(SAVED)
        if fd is None:
            return None
        try:
            return jobfiles.moment(os.fstat(fd).st_mtime)
        except OSError:
            return None
        finally:
            os.close(fd)

    def tail(self, name: str, most_bytes: int) -> bytes:
        """Return the last bytes of one of the job's files; empty when it is not a regular file."""
        fd = self._open(name)
        if fd is None:
            return b""
        try:
            size = os.fstat(fd).st_size
            return os.pread(fd, most_bytes, max(0, size - most_bytes))
        except OSError:
            return b""
        finally:
            os.close(fd)

    def append_to_log(self, sentence: str) -> None:
        """Append a sentence to the job's log, where its user looks."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            fd = os.open(self.path / "output.log", flags, 0o644)
            try:
                os.write(fd, sentence.encode() + b"\n")
            finally:
                os.close(fd)

    def _facts(self) -> LaunchFacts | None:
        raw = self._trusted("launch.json")
        try:
            launch: Any = json.loads(raw) if raw else None
            return LaunchFacts.model_validate_json(json.dumps(launch["facts"])) if launch else None
        except (ValueError, KeyError, TypeError):
            return None

    def _read(self, name: str, model: type[M]) -> M | None:
        raw = self._trusted(name)
        try:
            return model.model_validate_json(raw) if raw else None
        except ValidationError:
            return None

    def _trusted(self, name: str) -> bytes:
        fd = self._open(name)
        if fd is None:
            return b""
        try:
            if os.fstat(fd).st_uid not in {os.geteuid(), 0}:
                return b""
            return os.read(fd, _LARGEST_BYTES)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _open(self, name: str) -> int | None:
        # Non-blocking: opening a named pipe that a job put there would wait for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self.path / name, flags)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None
