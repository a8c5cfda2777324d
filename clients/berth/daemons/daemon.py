"""Daemon: start, watch, restart and stop of one daemon process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from berth.backoff import Backoff
from berth.daemons import identity
from berth.daemons.identity import Identity
from berth.home import Home

# A daemon that ran this long did not fail to start: the pauses begin again.
_STEADY_S = 20.0
_LOG_BYTES = 20 << 20


class Daemon:
    """A daemon that is kept running. Only `stop` blocks."""

    def __init__(
        self,
        name: str,
        home: Home,
        report: Callable[[str], None],
        command: list[str] | None = None,
    ) -> None:
        self.name = name
        self.home = home
        self.starts = 0
        self.failures = 0
        self.last_end: str | None = None
        self.who: Identity | None = None
        self.handle: int | None = None
        """A pidfd: readable when the daemon has ended."""
        self.due: float | None = 0.0
        """Time of its next start, on the monotonic clock; None while it runs."""
        self._report = report
        # -P: a user's folder with a module named like one of ours must not be imported.
        self._command = command or [sys.executable, "-P", "-m", f"berth_{name}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._backoff = Backoff(0.1, 30.0)

    def start(self) -> None:
        """Start it, or take over one that already runs for this home."""
        self._began = time.monotonic()
        self.due = None
        running = identity.alive(self.home.pid(self.name))
        if running is not None:
            self._watch(running)
            return
        log = self.home.log(self.name)
        _rotate(log)
        try:
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    cwd="/",
                    env={**os.environ, "BERTH_HOME": str(self.home.folder)},
                    # Ctrl-C in the terminal is for the supervisor, which stops its daemons in order.
                    start_new_session=True,
                )
        except OSError as error:
            self._failed(f"could not be started: {error}")
            return
        self.starts += 1
        who = identity.of(self._process.pid)
        if who is None:
            self.ended()
        else:
            self._watch(who)

    def ended(self) -> None:
        """Note the end of the daemon and schedule its next start."""
        how = "ended"
        if self._process is not None:
            code = self._process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        self._forget()
        self._failed(how)

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL when it outlasts the grace."""
        self.due = None
        who = self.who
        if who is not None and who.send(signal.SIGTERM) and not who.wait(grace_s):
            self._report(f"The {self.name} did not stop within {grace_s:g} s and is killed.")
            who.send(signal.SIGKILL)
            who.wait(5.0)
        if self._process is not None:
            self._process.wait()
        self._forget()

    def _failed(self, how: str) -> None:
        if time.monotonic() - self._began >= _STEADY_S:
            self.failures = 0
            self._backoff.reset()
        pause = self._backoff.next_s()
        self.failures += 1
        self.last_end = how
        self.due = time.monotonic() + pause
        self._report(
            f"The {self.name} {how}; it is restarted in {pause:g} s. Its log is {self.home.log(self.name)}."
        )

    def _watch(self, who: Identity) -> None:
        try:
            self.handle = os.pidfd_open(who.pid)
        except ProcessLookupError:
            self.ended()
        else:
            self.who = who

    def _forget(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
        self.handle = self.who = self._process = None


def _rotate(log: Path) -> None:
    try:
        if log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    except OSError:
        pass  # there is none yet, or the disk takes no change: the old one goes on
