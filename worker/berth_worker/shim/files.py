"""Small files: the claim, files of the kernel, the notice pipe."""
# pathlib's import would cost as much as the whole start of a shim.
# ruff: noqa: PTH104, PTH108

from __future__ import annotations

import contextlib
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import resource
    from typing import Any


class AlreadyStartedError(Exception):
    """The attempt has been claimed before; it must not be started again."""


def claim(folder: str, mine: dict[str, Any]) -> None:
    """
    Create `started`, the claim of the one process that may start the attempt.

    It appears with its content or not at all, so that a reader always finds the claimant.
    Raises AlreadyStartedError, or OSError when nothing can be written.
    """
    name = f"{folder}/started"
    part = f"{name}.{os.getpid()}"
    _write_new(part, json.dumps(mine).encode())
    try:
        os.link(part, name)
    except FileExistsError:
        raise AlreadyStartedError(folder) from None
    finally:
        os.unlink(part)


def _write_new(path: str, text: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        fd = os.open(path, flags, 0o644)
    except FileExistsError:  # left by a process of an earlier boot with this pid
        os.unlink(path)
        fd = os.open(path, flags, 0o644)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def replace(path: str, text: bytes) -> None:
    """Write a file atomically: readers see the old content or the new."""
    part = path + ".part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
    os.rename(part, path)


def sync(path: str) -> None:
    """Flush a file to disk, and with it the folder entries made before it."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


def read(path: str) -> bytes:
    """Return the content of a kernel file; empty when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    chunks: list[bytes] = []
    try:
        while True:
            chunk = os.read(fd, 65536)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    except OSError:
        return b""
    finally:
        os.close(fd)


def write(path: str, text: str) -> bool:
    """Write to a kernel file; return False when that is refused."""
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def tell(notice: int, word: str, text: str) -> bool:
    """Send one line to the worker that started this shim; return False when it is gone."""
    if notice < 0:
        return False
    try:
        os.write(notice, f"{word} {text}\n".encode())
    except OSError:
        return False
    return True


class Usage:
    """Resource usage of an attempt, summed up as its processes are reaped."""

    def __init__(self) -> None:
        self.max_rss_bytes = 0
        """The largest of any process."""
        self.user_s = 0.0
        self.system_s = 0.0

    def add(self, usage: resource.struct_rusage) -> None:
        """Add one reaped process and those that it reaped."""
        self.max_rss_bytes = max(self.max_rss_bytes, usage.ru_maxrss * 1024)
        self.user_s += usage.ru_utime
        self.system_s += usage.ru_stime


def keep_from_jobs(fd: int) -> None:
    """Keep a descriptor from jobs: in a job it would stay open after the shim has closed it."""
    if fd >= 0:
        os.set_inheritable(fd, False)  # noqa: FBT003 - by position only


def now_text() -> str:
    """Return the time as the protocol writes it: UTC, milliseconds."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
