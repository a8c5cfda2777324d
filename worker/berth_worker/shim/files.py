"""Small files: the claim, files of the kernel, the line to the worker."""
# pathlib's import would cost as much as the whole start of a shim.

from __future__ import annotations

import contextlib
import json
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import resource
    from typing import Any


class AlreadyStartedError(Exception):
    """The attempt has been claimed before; it must not be started again."""


def open_folder(path: str, within: int | None = None) -> int:
    """Open a folder, no link, to open files below it by descriptor. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, dir_fd=within)


def claim(folder: int, mine: dict[str, Any]) -> None:
    """
    Create `started`, the claim of the one process that may start the attempt.

    It appears with its content or not at all, so that a reader always finds the claimant.
    Raises AlreadyStartedError, or OSError when nothing can be written.
    """
    part = f"started.{os.getpid()}"
    write_new(folder, part, json.dumps(mine).encode(), 0o644)
    try:
        os.link(part, "started", src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        # Over NFS a repeated request finds the link that the first one made.
        if os.stat(part, dir_fd=folder, follow_symlinks=False).st_nlink < 2:
            raise AlreadyStartedError from None
    finally:
        os.unlink(part, dir_fd=folder)


def replace(folder: int, name: str, text: bytes, mode: int = 0o644) -> None:
    """Write a file atomically: readers see the old content or the new. Raises OSError."""
    part = f"{name}.{os.getpid()}.part"
    write_new(folder, part, text, mode)
    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)


def write_new(folder: int, name: str, text: bytes, mode: int) -> None:
    """Write a file that was not there; nothing that lies in its place is opened."""
    fd = open_new(folder, name, mode)
    try:
        write_all(fd, text)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(fd)


def open_new(folder: int, name: str, mode: int = 0o644, flags: int = 0) -> int:
    """Create a file for writing in place of what a process of the same pid left there."""
    flags |= os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, mode, dir_fd=folder)
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        return os.open(name, flags, mode, dir_fd=folder)


def write_all(fd: int, text: bytes) -> None:
    """Write all of a text; a full disk takes a part of it first. Raises OSError."""
    while text:
        text = text[os.write(fd, text) :]


def read_small(folder: int, name: str, most_bytes: int) -> bytes:
    """Return the content of a regular file below an open folder; empty when there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=folder)
    except OSError:
        return b""
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > most_bytes:
            return b""
        found = b""
        while len(found) <= most_bytes:
            chunk = os.read(fd, most_bytes + 1 - len(found))
            if not chunk:
                return found
            found += chunk
        return b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def sync(folder: int, name: str) -> None:
    """Flush a file to disk, and with it the folder entries made before it."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
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
    """Send one message to the worker that started this shim; return False when it is gone."""
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
