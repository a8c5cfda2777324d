"""Starter of shims: idle ones first, then through the warm fork server, or directly."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import structlog

from berth_worker import shim
from berth_worker.fence import APPLY

_log = structlog.get_logger(__name__)
_PROGRAM = str(Path(shim.__file__).with_name("__main__.py"))


class ShimLauncher:
    """
    Starts the shims of attempts, which outlive this object and its process.

    A shim whose job was over at once may get another attempt. Any thread may call.
    """

    def __init__(self) -> None:
        """Nothing is started before `warm`."""
        self._channel: socket.socket | None = None
        self.fork_server_pid: int | None = None
        """The process that shims are forked from; None before it was started."""
        self._children: list[subprocess.Popen[bytes]] = []
        self._idle: dict[int, float] = {}
        """Lines to shims that have served an attempt, with the time they came back."""
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start the fork server unless it runs; returns before it is ready."""
        if self._channel is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = ["--fork-server", str(theirs.fileno()), str(APPLY)]
            try:
                self.fork_server_pid = self._spawn(command, theirs.fileno())
            except OSError as error:
                ours.close()
                _log.warning(
                    "the fork server cannot be started",
                    action="fork_server.refused",
                    reason=str(error),
                )
                return
        ours.settimeout(0.0)
        self._channel = ours

    def start(self, launch_path: Path, *, directly: bool = False) -> int:
        """
        Start the shim of a launch.json; return our end of the line to it.

        `directly`: in a new process, because the message to another may have been lost. The shim
        says `began`, `ended` or `refused`, one message each, and closes the line when it exits.
        Raises OSError when the box has no process to spare.
        """
        with self._lock:
            self._reap()
            known = None if directly else self._through_idle_shim(launch_path)
            if known is not None:
                return known
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours, theirs:
                if directly or not self._through_fork_server(launch_path, theirs.fileno()):
                    self._spawn([str(launch_path), str(theirs.fileno())], theirs.fileno())
                ours.settimeout(0.0)  # theirs blocks: no message must be lost in a full line
                return ours.detach()

    def give_back(self, line: int) -> None:
        """
        Take back the line to a shim that has reported the end of its attempt.

        Call it only when no signal will be sent to that shim any more: it may serve another attempt.
        """
        with self._lock:
            self._idle[line] = time.monotonic()

    def trim(self) -> None:
        """Let the shims exit that have waited for a second."""
        with self._lock:
            for line in [one for one, at in self._idle.items() if at < time.monotonic() - 1]:
                self._drop(line)

    def close(self) -> None:
        """Let the fork server and the idle shims exit; running shims stay."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        with self._lock:
            for line in list(self._idle):
                self._drop(line)

    def _through_idle_shim(self, launch_path: Path) -> int | None:
        """Send the message to a shim that says that it is free, the last one used before others."""
        for line in reversed(list(self._idle)):
            try:
                if os.read(line, 64).startswith(b"free"):
                    os.write(line, os.fsencode(launch_path))
                    del self._idle[line]
                    return line
            except BlockingIOError:
                continue  # it still writes its record
            except OSError:
                pass
            self._drop(line)
        return None

    def _drop(self, line: int) -> None:
        del self._idle[line]
        os.close(line)

    def _through_fork_server(self, launch_path: Path, writing: int) -> bool:
        self.warm()
        if self._channel is None:
            return False
        try:
            socket.send_fds(self._channel, [os.fsencode(launch_path)], [writing])
        except OSError as error:
            _log.warning("the fork server is gone", action="fork_server.gone", reason=str(error))
            self._channel.close()
            self._channel = None
            with contextlib.suppress(OSError):
                self.warm()
            return False
        return True

    def _spawn(self, arguments: list[str], fd: int) -> int:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", _PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(fd,),
            cwd="/",
            start_new_session=True,
        )
        self._children.append(child)
        return child.pid

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]
