"""
Process identity: pid, start time and boot, because pids are reused.

Written to pid files as one line of JSON: `{"pid": …, "start_ticks": …, "boot_id": …}`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Identity:
    """One process of one boot; never mistaken for a later process with the same pid."""

    pid: int
    start_ticks: int
    boot_id: str

    @property
    def alive(self) -> bool:
        """True if this very process still runs (a zombie does not)."""
        return self.boot_id == boot_id() and _start_ticks(self.pid) == self.start_ticks

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False when the process is gone. Cannot hit a later process."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # Checked after the handle is held: from here on it is this process or none.
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process has ended; False when it outlasts `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            return bool(ready)
        finally:
            os.close(handle)

    def line(self) -> str:
        """As it stands in a pid file."""
        return json.dumps(asdict(self)) + "\n"


def boot_id() -> str:
    """The present boot's id."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def of(pid: int) -> Identity | None:
    """The identity of a running process; None when there is none."""
    ticks = _start_ticks(pid)
    return None if ticks is None else Identity(pid, ticks, boot_id())


def read(path: Path, key: str | None = None) -> Identity | None:
    """The identity in a file of JSON, or under one key of it; None when there is none."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        record: Any = raw if key is None else raw[key]
        return Identity(
            int(record["pid"]), int(record["start_ticks"]), str(record.get("boot_id", ""))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def alive(path: Path, key: str | None = None) -> Identity | None:
    """The identity in a file when that very process runs, else None."""
    found = read(path, key)
    return found if found is not None and found.alive else None


def _start_ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])
