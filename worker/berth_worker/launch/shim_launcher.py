"""Starts shims: through the warm fork server, or directly where that has died."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import structlog

from berth_worker import shim
from berth_worker.fence import APPLY

_log = structlog.get_logger(__name__)
_PROGRAM = str(Path(shim.__file__).with_name("__main__.py"))


class ShimLauncher:
    """
    Starts one shim per attempt. Shims outlive this object and its process.

    Any thread may call.
    """

    def __init__(self) -> None:
        """Nothing is started before `warm`."""
        self._channel: socket.socket | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start the fork server unless it runs; returns before it is ready."""
        if self._channel is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = ["--fork-server", str(theirs.fileno()), str(APPLY)]
            try:
                self._spawn(command, theirs.fileno())
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
        Start the shim of a launch.json; return the reading end of its notice pipe.

        `directly`: without the fork server, which may have lost the message before. The pipe
        says `began`, `ended` or `refused`, and closes when the shim exits. Raises OSError when
        the box has no process to spare.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # The shim's end blocks: its messages must not be lost in a full pipe.
            os.set_blocking(writing, True)
            with self._lock:
                self._reap()
                if directly or not self._through_fork_server(launch_path, writing):
                    self._spawn([str(launch_path), str(writing)], writing)
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return reading

    def close(self) -> None:
        """Let the fork server exit; running shims stay."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _through_fork_server(self, launch_path: Path, writing: int) -> bool:
        self.warm()
        if self._channel is None:
            return False
        try:
            socket.send_fds(self._channel, [os.fsencode(launch_path)], [writing])
        except OSError as error:
            _log.warning("the fork server is gone", action="fork_server.gone", reason=str(error))
            self.close()
            with contextlib.suppress(OSError):
                self.warm()
            return False
        return True

    def _spawn(self, arguments: list[str], fd: int) -> None:
        self._children.append(
            subprocess.Popen(
                [sys.executable, "-I", "-S", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(fd,),
                cwd="/",
                start_new_session=True,
            )
        )

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]
