"""Pid lock: one process per file, which names its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from berth.daemons import identity


class Lock:
    """A pid file, locked for as long as this process lives or until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def take(self) -> bool:
        """Lock the file and write this process's identity; False while another process holds it."""
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            if self._is_still_there(handle):
                break
            # Its holder removed it between our open and our lock: look again.
            os.close(handle)
        who = identity.of(os.getpid())
        assert who is not None
        os.ftruncate(handle, 0)
        os.write(handle, who.line().encode())
        self._handle = handle
        return True

    def release(self) -> None:
        """Remove the file and give the lock back."""
        if self._handle >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1

    def _is_still_there(self, handle: int) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(handle)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
