"""
Daemons that are started again as soon as they are gone, in a hundredth of the usual time.

Most of a start is spent on loading modules. A process that has loaded them (`points.py --keep`)
forks each daemon, so that the minutes go into kills.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

POINTS = Path(__file__).with_name("points.py")


class Daemon:
    """One daemon, kept up from `start` to `close`."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.pid: int | None = None
        """Of the one that lives, as far as is known."""
        self._environment = environment
        self._log = log
        self._keeper: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and let it be started again."""
        with self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, str(POINTS), "--keep", f"berth_{self.name}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        threading.Thread(target=self._follow, args=(self._keeper,), daemon=True).start()

    def _follow(self, keeper: subprocess.Popen[str]) -> None:
        assert keeper.stdout is not None
        for line in keeper.stdout:
            self.pid = int(line) or None

    def kill(self) -> bool:
        """Kill it; False when there was none."""
        pid = self.pid
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def close(self) -> None:
        """Stop it for good."""
        if self._keeper is None:
            return
        self._keeper.kill()
        self._keeper.wait()
        pid = self.pid
        deadline = time.monotonic() + 10
        with contextlib.suppress(ProcessLookupError):
            while pid is not None:
                os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
                time.sleep(0.05)
