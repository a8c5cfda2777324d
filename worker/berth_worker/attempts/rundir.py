"""
The run directory of an attempt: the files that a worker needs to take it up again.

It belongs to the worker's user; below it lies the folder that belongs to the job's user, who can
put anything there. What decides something is read from the first, and only where this worker's own
user (or root) wrote it; everything is opened by descriptor, without following links or waiting.
Run directories of earlier versions are one folder, given to the job's user.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from berth import jobfiles
from berth.daemons import identity
from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import ExitRecord
from berth_worker.attempts.run_records import (
    Claim,
    ExitFile,
    LaunchFile,
    RunDirState,
    ShimRecord,
    SpecFile,
)
from berth_worker.shim import files

M = TypeVar("M", bound=BaseModel)
_LARGEST_BYTES = 4 << 20
_ERROR_BYTES = 64 << 10


class RunDir:
    """The run directory of one attempt."""

    def __init__(
        self,
        path: str,
        attempt: str,
        token: str,
        uid: int | None = None,
        *,
        written_by_user: bool = False,
    ) -> None:
        """
        `path` is absolute; `uid` is the job's user if it is another. Nothing is touched yet.

        `written_by_user`: the shim runs as the job's user, as on a cluster, and so are its records.
        """
        self.path = Path(path)
        self.attempt = attempt
        self.token = token
        self._trusted_uids = {os.geteuid(), 0}
        self._owners = self._trusted_uids | ({uid} if uid is not None else set())
        if written_by_user:
            self._trusted_uids = self._owners

    # Writing

    def make(self, owner: tuple[int, int] | None = None) -> None:
        """
        Make the folder, and the job's folder in it for its `owner`, uid and gid. Raises OSError.

        May be repeated until the attempt is claimed.
        """
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self._open() as folder:
            with contextlib.suppress(FileExistsError):
                os.mkdir(jobfiles.FOLDER, 0o755, dir_fd=folder)
            if owner is not None:
                inner = files.open_folder(jobfiles.FOLDER, folder)
                try:
                    os.fchown(inner, *owner)
                finally:
                    os.close(inner)

    def write_record(self, name: str, content: bytes) -> None:
        """Write one of our records, of which a part counts as none. Raises OSError."""
        with self._open() as folder:
            files.write_new(folder, name, content, 0o600)

    def write(self, name: str, content: bytes, mode: int = 0o600, owner: int | None = None) -> None:
        """
        Write one of our files atomically; `owner` gets one that the job reads. Raises OSError.

        Nothing that lies in its place is opened, and none but a file just made is given away.
        """
        part = f"{name}.{os.getpid()}.part"
        with self._open() as folder:
            handle = files.open_new(folder, part, mode)
            try:
                files.write_all(handle, content)
                if owner is not None:
                    os.fchown(handle, owner, -1)
                os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(part, dir_fd=folder)
                raise
            finally:
                os.close(handle)

    def write_exit(self, record: ExitRecord) -> None:
        """Write the record of an attempt that no shim has run. Raises OSError."""
        content = ExitFile(**record.model_dump(), token=self.token)
        self.write("exit.json", content.model_dump_json().encode(), mode=0o644)

    def append_to_log(self, sentence: str) -> None:
        """Append a sentence to the log of an attempt that no shim has run."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError), self._open() as folder:
            handle = os.open("output.log", flags | os.O_CLOEXEC, 0o644, dir_fd=folder)
            try:
                if stat.S_ISREG(os.fstat(handle).st_mode):
                    files.write_all(handle, sentence.encode(errors="replace") + b"\n")
            finally:
                os.close(handle)

    # Claims

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
        with self._open() as folder:
            try:
                files.claim(folder, claim | {"attempt": self.attempt, "token": self.token})
            except files.AlreadyStartedError:
                return False
        return True

    # Reading our own files

    def state(self) -> RunDirState:
        """Read the attempt's present state."""
        try:
            with self._open() as folder:
                return self._state(folder)
        except OSError:
            return RunDirState("unstarted")

    def _state(self, folder: int) -> RunDirState:
        ended = self._read("exit.json", ExitFile, folder)
        started = self._read("started", Claim, folder)
        launch = self._read("launch.json", LaunchFile, folder)
        if self._is_foreign(ended, started, launch, self._read("spec.json", SpecFile, folder)):
            return RunDirState("foreign")
        record = ended.record() if ended is not None else None
        facts = launch.facts if launch is not None else None
        if record is None and started is None:
            if self._was_started(folder):
                return RunDirState("lost", shim_record=self.shim_record(), facts=facts)
            return RunDirState("unstarted")
        shim = started.identity() if started else None
        if record is None and started is not None and started.refused:
            return RunDirState("blocked")
        shim_record = self.shim_record()
        if record is None and shim is not None and shim.alive:
            return RunDirState("alive", shim=shim, shim_record=shim_record, facts=facts)
        # It may have ended since the first read.
        record = record or self.exit_record()
        kind = "ended" if record else "lost"
        return RunDirState(kind, shim, shim_record, record, facts)

    def claimed(self) -> Claim | None:
        """Return the claim of the one process that may run the attempt; None before it."""
        claim = self._read("started", Claim)
        is_ours = claim is not None and (claim.attempt, claim.token or self.token) == (
            self.attempt,
            self.token,
        )
        return claim if is_ours else None

    def facts(self, name: str) -> LaunchFacts | None:
        """Return the launch facts that a file of launch orders holds."""
        launch = self._read(name, LaunchFile)
        return launch.facts if launch is not None and launch.attempt == self.attempt else None

    def own_file(self, name: str) -> bytes:
        """Return the content of one of our files; empty when there is none."""
        return self._trusted(name, _LARGEST_BYTES)

    def written_at(self, name: str) -> float | None:
        """Return when one of our files was written, unix seconds; None when there is none."""
        try:
            with self._open() as folder:
                return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
        except OSError:
            return None

    def exit_record(self) -> ExitRecord | None:
        """Return the exit record, when there is one that can be trusted."""
        record = self._read("exit.json", ExitFile)
        return record.record() if record is not None and record.attempt == self.attempt else None

    def shim_record(self) -> ShimRecord | None:
        """Return the content of shim.json, when it is there."""
        record = self._read("shim.json", ShimRecord)
        return record if record is not None and record.attempt == self.attempt else None

    def shim_error(self) -> str | None:
        """Return the last line of the fault that ended the attempt's shim; None without one."""
        lines = self._trusted("shim.error", _ERROR_BYTES).decode(errors="replace").split("\n")
        return next((jobfiles.line(one) for one in reversed(lines) if one.strip()), None)

    def _is_foreign(self, *records: Claim | ExitFile | LaunchFile | SpecFile | None) -> bool:
        """
        Return whether the records are of another attempt: one that this database does not know,
        because it is a copy from an earlier day.
        """
        return any(
            one is not None and (one.attempt, one.token or self.token) != (self.attempt, self.token)
            for one in records
        )

    def _was_started(self, folder: int) -> bool:
        """Return whether it was started although no claim can be read."""
        try:
            if os.fstat(folder).st_uid not in self._trusted_uids:
                return True  # only shims of earlier versions gave it to the job's user
            os.stat("started", dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return True  # not whole: the disk lost it in a power cut

    def _read(self, name: str, model: type[M], folder: int | None = None) -> M | None:
        raw = self._trusted(name, _LARGEST_BYTES, folder)
        try:
            return model.model_validate_json(raw) if raw else None
        except (ValidationError, RecursionError):
            return None

    def _trusted(self, name: str, most_bytes: int, folder: int | None = None) -> bytes:
        """Return the content of a file of ours. A claim has two names while it is made."""
        try:
            with self._open(folder) as at:
                handle = jobfiles.open_file(at, name, self._trusted_uids, one_name=False)
        except (OSError, jobfiles.NotOwnFileError):
            return b""
        if handle is None:
            return b""
        try:
            return jobfiles.read_end(handle, most_bytes)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _open(self, known: int | None = None) -> Generator[int]:
        folder = files.open_folder(str(self.path)) if known is None else known
        try:
            yield folder
        finally:
            if known is None:
                os.close(folder)

    # Reading what the job wrote

    def failure(self) -> tuple[str | None, str | None]:
        """Return kind and sentence of failure.json, the job's own diagnosis; Nones without one."""
        return jobfiles.failure(jobfiles.written(self.path, "failure.json", self._owners))

    def saved_at(self) -> datetime | None:
        """Return the time of the job's last complete checkpoint; None when there is none."""
        try:
            handle = jobfiles.open_written(self.path, "saved.json", self._owners)
        except jobfiles.NotOwnFileError:
            return None
        if handle is None:
            return None
        try:
            return jobfiles.moment(os.fstat(handle).st_mtime)
        finally:
            os.close(handle)

    def log_tail(self, most_bytes: int, name: str = "output.log") -> bytes:
        """Return the last bytes of a log of the job; empty when it is not a file of the job's."""
        try:
            with self._open() as folder:
                handle = jobfiles.open_file(folder, name, self._owners)
        except (OSError, jobfiles.NotOwnFileError):
            return b""
        if handle is None:
            return b""
        try:
            return jobfiles.read_end(handle, most_bytes)
        finally:
            os.close(handle)

    def log_identity(self) -> tuple[int, int] | None:
        """Return device and inode of the log, which only processes of the attempt write to."""
        try:
            with self._open() as folder:
                facts = os.stat("output.log", dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None
        return facts.st_dev, facts.st_ino
