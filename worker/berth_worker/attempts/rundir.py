"""
The run directory: everything there is to know about an attempt.

It may belong to the user the job runs as, who can put anything there. Files that decide
something are believed only when this worker's own user (or root) wrote them, and links are
never followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError

from berth.daemons import identity
from berth.daemons.identity import Identity
from berth.protocol.base import UtcTime, Wire
from berth.protocol.internal import ExitRecord
from berth.protocol.jobs import LaunchFacts
from berth_worker.shim import files

M = TypeVar("M", bound=BaseModel)
_LARGEST_BYTES = 4 << 20
SAVED = "saved.json"
"""Written by the job when a checkpoint is whole; its time is what counts."""


class _Who(Wire):
    pid: int
    start_ticks: int
    boot_id: str

    def identity(self) -> Identity:
        return Identity(self.pid, self.start_ticks, self.boot_id)


class _Started(_Who):
    attempt: str
    refused: bool = False


class Began(Wire):
    """What the shim writes to shim.json when the job's first process runs."""

    attempt: str
    shim: _Who
    first: _Who
    started_at: UtcTime
    oom_kills: int | None = None
    """The kernel's count of memory kills soon after; absent at the very start."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a run directory tells."""

    kind: Literal["unstarted", "refused", "alive", "ended", "lost"]
    """`refused`: it was stopped before it started and never will. `lost`: the shim is gone
    and left no record."""
    shim: Identity | None = None
    began: Began | None = None
    """Absent when the job's first process never ran, or its shim has not come so far yet."""
    record: ExitRecord | None = None
    facts: LaunchFacts | None = None


class RunDir:
    """The folder of one attempt."""

    def __init__(self, path: str, attempt: str) -> None:
        """`path` is absolute; nothing is touched yet."""
        self.path = Path(path)
        self.attempt = attempt

    def make(self) -> bool:
        """Make the folder; False when it was there. Raises OSError."""
        try:
            self.path.mkdir(mode=0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            return self.make()
        return True

    def write(self, name: str, content: bytes, mode: int = 0o600, owner: int | None = None) -> None:
        """Write a file that readers see whole or not at all. Raises OSError."""
        part = self.path / f"{name}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            os.write(fd, content)
            if owner is not None:
                os.fchown(fd, owner, -1)
        finally:
            os.close(fd)
        part.rename(self.path / name)

    def refuse(self) -> bool:
        """Claim the attempt so that nobody starts it any more; False when somebody has."""
        who = identity.of(os.getpid())
        assert who is not None
        mine = {"pid": who.pid, "start_ticks": who.start_ticks, "boot_id": who.boot_id}
        return self._claim(mine | {"refused": True})

    def abandon(self) -> None:
        """Claim the attempt for nobody: from now on it counts as lost. Raises OSError."""
        self.make()
        self._claim({"pid": 0, "start_ticks": 0, "boot_id": ""})

    def _claim(self, claim: dict[str, Any]) -> bool:
        try:
            files.claim(str(self.path), claim | {"attempt": self.attempt})
        except files.AlreadyStartedError:
            return False
        return True

    def look(self) -> Found:
        """What became of the attempt so far."""
        record = self.record()
        started = self._read("started", _Started)
        if record is None and started is None:
            if (self.path / "started").exists():  # not whole: the disk lost it in a power cut
                return Found("lost", began=self._began(), facts=self._facts())
            return Found("unstarted")
        shim = started.identity() if started else None
        if record is None and started is not None and started.refused:
            return Found("refused")
        began = self._began()
        if record is None and shim is not None and shim.alive:
            return Found("alive", shim=shim, began=began, facts=self._facts())
        # It may have ended between our two looks: its record comes first.
        record = record or self.record()
        kind = "ended" if record else "lost"
        return Found(kind, shim=shim, began=began, record=record, facts=self._facts())

    def record(self) -> ExitRecord | None:
        """The exit record, when there is one that can be believed."""
        record = self._read("exit.json", ExitRecord)
        return record if record is not None and record.attempt == self.attempt else None

    def began(self) -> Began | None:
        """What shim.json says, when it is there."""
        return self._began()

    def failure(self) -> tuple[str | None, str | None]:
        """Kind and sentence of failure.json, the job's own diagnosis; Nones without one."""
        raw = self.tail("failure.json", 65536)
        try:
            said: Any = json.loads(raw) if raw else None
        except ValueError:
            return None, None
        if not isinstance(said, dict):
            return None, None
        kind, sentence = (cast("dict[str, Any]", said).get(key) for key in ("kind", "sentence"))
        return (
            kind if isinstance(kind, str) else None,
            sentence if isinstance(sentence, str) else None,
        )

    def saved_at(self) -> datetime | None:
        """When the job last told of a whole checkpoint; None when it never did."""
        fd = self._open(SAVED)
        if fd is None:
            return None
        try:
            return datetime.fromtimestamp(os.fstat(fd).st_mtime, UTC)
        except OSError:
            return None
        finally:
            os.close(fd)

    def tail(self, name: str, most_bytes: int) -> bytes:
        """The last bytes of a file of the job's; empty when it is not a plain file."""
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

    def say(self, sentence: str) -> None:
        """Write a sentence of ours into the job's log, where its user looks."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            fd = os.open(self.path / "output.log", flags, 0o644)
            try:
                os.write(fd, sentence.encode() + b"\n")
            finally:
                os.close(fd)

    def _began(self) -> Began | None:
        began = self._read("shim.json", Began)
        return began if began is not None and began.attempt == self.attempt else None

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
        # Not blocking: a pipe put there would hold us for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self.path / name, flags)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None
