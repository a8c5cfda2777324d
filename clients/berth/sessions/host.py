"""
Program of a job with a terminal: runs the command on a pseudo-terminal, and lets its user attach.

What the command writes also goes to the job's log. The session ends with the command, or when
nobody typed and nothing was written for the idle time, which is told five minutes before.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import selectors
import signal
import socket
import struct
import sys
import termios
import time
from pathlib import Path
from types import FrameType

from berth.sessions import SOCKET, frames, through

_PIECE = 1 << 16
_KEPT = 1 << 16
"""Bytes of output that a terminal gets when it attaches."""
_STUCK = 4 << 20
"""Bytes that wait for a terminal before it is dropped."""
_WARNED_S = 300.0


def main(arguments: list[str] | None = None) -> int:
    """Run the session; return the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=float, default=0.0, help="seconds; 0: never")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    session = Session(Path(os.environ["BERTH_RUN_DIR"]), options.command, options.idle)
    try:
        return session.run()
    finally:
        session.close()


class _Terminal:
    """One attached terminal."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.incoming = frames.Frames()
        self.outgoing = bytearray()


class Session:
    """A command on a pseudo-terminal, with any number of terminals attached."""

    def __init__(self, folder: Path, command: list[str], idle_s: float) -> None:
        self._idle_s, self._warned = idle_s, False
        self._active_at = time.monotonic()
        self._kept = bytearray()
        self._terminals: dict[int, _Terminal] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._signals = {
            signal.SIGTERM: "berth: the job is being stopped",
            signal.SIGUSR1: "berth: the job will be stopped soon; save what you need",
        }
        for number in (*self._signals, signal.SIGCHLD):
            signal.signal(number, _awake)
        signal.set_wakeup_fd(wake)
        self._listener = _listen(folder)
        self._child, self._pty = pty.fork()
        if self._child == 0:
            _become(command)
        os.set_blocking(self._pty, False)
        for source in (self._wake, self._pty, self._listener):
            self._selector.register(source, selectors.EVENT_READ)

    def run(self) -> int:
        """Relay until the command has ended; return its exit code."""
        code: int | None = None
        while code is None:
            for key, events in self._selector.select(self._pause()):
                self._on(key.fd, events)
            self._look_at_idle()
            code = self._ended()
        self._read_pty()
        self._send(frames.frame(frames.EXIT, str(code).encode()))
        for terminal in self._terminals.values():
            with contextlib.suppress(OSError):
                terminal.connection.settimeout(1.0)
                terminal.connection.sendall(bytes(terminal.outgoing))
        return code

    def close(self) -> None:
        """Let go of every terminal."""
        for terminal in self._terminals.values():
            terminal.connection.close()
        self._listener.close()

    def _on(self, source: int, events: int) -> None:
        if source == self._wake:
            for number in os.read(self._wake, 64):
                self._signalled(number)
        elif source == self._pty:
            self._read_pty()
        elif source == self._listener.fileno():
            self._accept()
        elif terminal := self._terminals.get(source):
            try:
                if events & selectors.EVENT_READ:
                    self._read(terminal)
                if events & selectors.EVENT_WRITE:
                    self._flush(terminal)
            except (OSError, ValueError):
                self._drop(terminal)

    def _signalled(self, number: int) -> None:
        if said := self._signals.get(signal.Signals(number)):
            self._tell(said)
        if number == signal.SIGTERM:
            self._hang_up()

    def _hang_up(self) -> None:
        """End the command as a closed terminal does: shells ignore SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGHUP)
            os.killpg(self._child, signal.SIGCONT)

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def _read_pty(self) -> None:
        while True:
            try:
                data = os.read(self._pty, _PIECE)
            except OSError:
                # No more for now, or the last process on the terminal has closed it.
                return
            if not data:
                return
            self._active()
            self._show(data)

    def _show(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-_KEPT:]
        with contextlib.suppress(OSError):
            # A full disk must not end the session.
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        self._send(frames.frame(frames.OUTPUT, data))

    def _tell(self, sentence: str) -> None:
        self._show(f"\r\n[{sentence}]\r\n".encode())

    def _send(self, data: bytes) -> None:
        for terminal in list(self._terminals.values()):
            terminal.outgoing += data
            try:
                self._flush(terminal)
            except OSError:
                self._drop(terminal)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it left before its turn
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[1] not in {os.getuid(), 0}:
            connection.close()
            return
        connection.settimeout(0.0)
        terminal = _Terminal(connection)
        self._terminals[connection.fileno()] = terminal
        self._selector.register(connection, selectors.EVENT_READ)
        terminal.outgoing += frames.frame(frames.OUTPUT, bytes(self._kept))
        self._active()
        try:
            self._flush(terminal)
        except OSError:
            self._drop(terminal)

    def _read(self, terminal: _Terminal) -> None:
        data = terminal.connection.recv(_PIECE)
        if not data:
            self._drop(terminal)
            return
        for kind, payload in terminal.incoming.feed(data):
            if kind == frames.INPUT:
                self._active()
                self._type(payload)
            elif kind == frames.SIZE and len(payload) == frames.WINDOW.size:
                rows, columns = frames.WINDOW.unpack(payload)
                window = struct.pack("4H", rows, columns, 0, 0)
                fcntl.ioctl(self._pty, termios.TIOCSWINSZ, window)

    def _type(self, data: bytes) -> None:
        """Hand on what was typed; a program that reads nothing is not waited for."""
        with contextlib.suppress(OSError):
            os.write(self._pty, data)

    def _flush(self, terminal: _Terminal) -> None:
        with contextlib.suppress(BlockingIOError):
            while terminal.outgoing:
                sent = terminal.connection.send(terminal.outgoing)
                del terminal.outgoing[:sent]
        if len(terminal.outgoing) > _STUCK:
            self._drop(terminal)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if terminal.outgoing else 0)
        self._selector.modify(terminal.connection, wanted)

    def _drop(self, terminal: _Terminal) -> None:
        if self._terminals.pop(terminal.connection.fileno(), None):
            self._selector.unregister(terminal.connection)
            terminal.connection.close()

    def _active(self) -> None:
        self._active_at, self._warned = time.monotonic(), False

    def _pause(self) -> float | None:
        if not self._idle_s:
            return None
        end = self._active_at + self._idle_s
        return max(0.05, (end if self._warned else end - self._warned_s) - time.monotonic())

    @property
    def _warned_s(self) -> float:
        return min(_WARNED_S, self._idle_s / 2)

    def _look_at_idle(self) -> None:
        if not self._idle_s:
            return
        left = self._active_at + self._idle_s - time.monotonic()
        if left <= 0:
            self._tell(f"berth: nothing happened for {self._idle_s:.0f} s, so the session ends")
            self._hang_up()
            self._idle_s = 0.0
        elif left <= self._warned_s and not self._warned:
            self._tell(f"berth: idle; the session ends in {left:.0f} s unless something happens")
            self._warned = True


def _awake(number: int, frame: FrameType | None) -> None:
    """The number comes through the pipe that wakes the loop."""


def _listen(folder: Path) -> socket.socket:
    """Return a socket in the run directory that only the job's user may open."""
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=descriptor)
        listener.bind(through(descriptor))
    finally:
        os.umask(before)
        os.close(descriptor)
    listener.listen()
    listener.settimeout(0.0)
    return listener


def _become(command: list[str]) -> None:
    """In the child: run the command, or say why not."""
    try:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 - an argv list, no shell
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main())
