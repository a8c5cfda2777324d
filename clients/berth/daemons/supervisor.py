"""
Supervisor of the daemons: starts server and worker, restarts them, stops them in order.

It sleeps until a signal, the end of a daemon or the time of a scheduled start. Jobs depend
neither on it nor on the daemons: killing all three leaves them running.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from berth.daemons.daemon import Daemon
from berth.daemons.lock import Lock
from berth.home import DAEMONS, Home

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_GRACE_S = 10.0
ALREADY_UP = 75


class DaemonSupervisor:
    """Keeps the daemons of one home running until a stop signal."""

    def __init__(self, home: Home, daemons: Sequence[Daemon] | None = None) -> None:
        self._home = home
        self._daemons = list(daemons or [Daemon(name, home, _log) for name in DAEMONS])
        self._stop = False

    def run(self, announce: Sequence[str] = ()) -> int:
        """
        Run until a stop signal; the exit code.

        `announce` is a command that is started beside the daemons and not waited for.
        """
        self._home.make()
        lock = Lock(self._home.supervisor_pid)
        if not lock.take():
            _log("Berth is already up in this home.")
            return ALREADY_UP
        try:
            self._supervise(announce)
            for daemon in reversed(self._daemons):
                daemon.stop(STOP_GRACE_S)
        finally:
            self._home.supervisor_state.unlink(missing_ok=True)
            lock.release()
        return 0

    def _supervise(self, announce: Sequence[str]) -> None:
        wake, woken = socket.socketpair()
        wake.settimeout(0.0)
        woken.settimeout(0.0)
        selector = selectors.DefaultSelector()
        selector.register(woken, selectors.EVENT_READ)
        previous = signal.set_wakeup_fd(wake.fileno())
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        started: subprocess.Popen[bytes] | None = None
        try:
            while not self._stop:
                self._start_due(selector)
                if announce and started is None:
                    started = subprocess.Popen(announce)
                for key, _ in selector.select(self._pause_s()):
                    if key.fileobj is woken:
                        woken.recv(4096)
                    else:
                        self._on_end(selector, key.fd)
                if started is not None:
                    started.poll()  # reap it once it has ended
        finally:
            signal.set_wakeup_fd(previous)
            selector.close()
            wake.close()
            woken.close()

    def _start_due(self, selector: selectors.BaseSelector) -> None:
        changed = False
        for daemon in self._daemons:
            if daemon.due is not None and daemon.due <= time.monotonic():
                daemon.start()
                changed = True
                if daemon.handle is not None:
                    selector.register(daemon.handle, selectors.EVENT_READ)
        if changed:
            self._write_state()

    def _on_end(self, selector: selectors.BaseSelector, handle: int) -> None:
        selector.unregister(handle)
        for daemon in self._daemons:
            if daemon.handle == handle:
                daemon.ended()
        self._write_state()

    def _pause_s(self) -> float | None:
        due = [daemon.due for daemon in self._daemons if daemon.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _write_state(self) -> None:
        state = {
            daemon.name: {
                "pid": daemon.who.pid if daemon.who else None,
                "starts": daemon.starts,
                "failures": daemon.failures,
                "last_end": daemon.last_end,
            }
            for daemon in self._daemons
        }
        fresh = self._home.supervisor_state.with_suffix(f".{os.getpid()}.new")
        # On a full disk the state lags behind; the daemons are kept running all the same.
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(state) + "\n", encoding="utf-8")
            fresh.replace(self._home.supervisor_state)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop = True


def _log(sentence: str) -> None:
    stamp = time.strftime("%H:%M:%S")
    print(f"{stamp} {sentence}", file=sys.stderr, flush=True)
