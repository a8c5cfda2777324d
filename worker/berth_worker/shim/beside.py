"""
Command beside a running job: in the job's fence, as its user, for one client on a socket.

The process that serves it is a child of the shim, so everything it starts is the job's and ends
with it. The frames are those of `berth.sessions.frames`: a letter, a length, that many bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import selectors
import signal
import socket
import struct
import termios
import time

from berth_worker.shim import exec_job, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OUTPUT, ERROR, EXIT = b"o", b"e", b"x"
INPUT, END_OF_INPUT, SIZE = b"i", b"d", b"w"
_HEAD = struct.Struct(">cI")
_PIECE = 1 << 16
_FULL = 1 << 20  # bytes on their way in one direction, before its source has to wait
_CONNECTS_S = 60.0
_GRACE_S = 2.0
_NOT_STARTED = 127


def start(
    launch: dict[str, Any], order: dict[str, Any], folder: int, enter: exec_job.Enter | None
) -> int:
    """
    Serve a command beside the job that `launch` started, in a process of its own; return its pid.

    Its socket lies in the job's `folder`, an open one, which only the job's user may enter.
    """
    child = os.fork()
    if child:
        return child
    code = 0
    try:
        os.setsid()
        files.write("/proc/self/oom_score_adj", "0")
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        own = os.dup2(folder, 3)
        os.closerange(4, 1 << 16)
        exec_job.confine(launch, enter)
        connection = _client(own, order["number"])
        if connection is not None:
            _Relay(connection).run(dict(launch, **_of(launch, order)), terminal=order["terminal"])
    except BaseException:  # noqa: BLE001 - a fork must never return into the shim
        code = 1
    finally:
        os._exit(code)


def _of(launch: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    return {"argv": order["argv"], "env": dict(launch["env"], **order["env"])}


def _client(folder: int, number: int) -> socket.socket | None:
    """Wait for the client that asked; None if it does not come."""
    name = f"exec-{number}.sock"
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    listener.bind(f"/proc/self/fd/{folder}/{name}")
    listener.listen()
    deadline = time.monotonic() + _CONNECTS_S
    try:
        while True:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except OSError:
                return None
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if struct.unpack("3i", peer)[1] in {os.getuid(), 0}:
                return connection
            connection.close()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        listener.close()
        os.close(folder)


def _awake(_number: int, _frame: object) -> None:
    """The number comes through the pipe that wakes the loop."""


class _Relay:
    """A command and its client: bytes of one to the other, until either is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._selector = selectors.DefaultSelector()
        self._received = bytearray()
        self._to_client = bytearray()
        self._to_command = bytearray()
        self._input = -1
        self._input_ends = False
        self._outputs: dict[int, bytes] = {}
        self._terminal = False
        self._child = 0
        self._kill_at: float | None = None
        self._present = True

    def run(self, launch: dict[str, Any], *, terminal: bool) -> None:
        """Start the command and relay until it has ended."""
        wake, wakes = os.pipe()
        os.set_blocking(wakes, False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, _awake)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._terminal = terminal
        (self._on_terminal if terminal else self._on_pipes)(launch)
        self._connection.settimeout(0.0)
        for fd in {self._input, *self._outputs} - {-1}:
            os.set_blocking(fd, False)
        self._selector.register(wake, selectors.EVENT_READ)
        status: int | None = None
        while status is None:
            self._choose()
            pause_s = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            for key, _ in self._selector.select(pause_s):
                if key.fd == wake:
                    if signal.SIGTERM in os.read(wake, 64):
                        self._hang_up()
                elif key.fd in self._outputs:
                    self._read(key.fd)
                elif key.fd == self._connection.fileno():
                    self._serve()
            self._feed()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._signal(signal.SIGKILL)
                self._kill_at = None
            status = self._ended()
        self._finish(status)

    def _on_terminal(self, launch: dict[str, Any]) -> None:
        self._child, master = pty.fork()
        if self._child == 0:
            _execute(launch)
        self._input, self._outputs = master, {master: OUTPUT}

    def _on_pipes(self, launch: dict[str, Any]) -> None:
        pipes = [os.pipe() for _ in range(3)]
        (theirs, self._input), (out, their_out), (error, their_error) = pipes
        self._child = os.fork()
        if self._child == 0:
            os.setsid()
            for fd, number in ((theirs, 0), (their_out, 1), (their_error, 2)):
                os.dup2(fd, number)
            _execute(launch)
        for fd in (theirs, their_out, their_error):
            os.close(fd)
        self._outputs = {out: OUTPUT, error: ERROR}

    def _choose(self) -> None:
        """Listen to those whose bytes there is room for."""
        wanted = dict.fromkeys(self._outputs if len(self._to_client) < _FULL else (), 1)
        if self._present:
            reading = selectors.EVENT_READ if len(self._to_command) < _FULL else 0
            wanted[self._connection.fileno()] = reading | (
                selectors.EVENT_WRITE if self._to_client else 0
            )
        if self._to_command:
            wanted[self._input] = wanted.get(self._input, 0) | selectors.EVENT_WRITE
        known = self._selector.get_map()
        for fd in {*wanted, *self._outputs, self._input, self._connection.fileno()} - {-1}:
            events = wanted.get(fd, 0)
            if fd in known and not events:
                self._selector.unregister(fd)
            elif fd in known:
                self._selector.modify(fd, events)
            elif events:
                self._selector.register(fd, events)

    def _read(self, fd: int) -> bool:
        """Take what the command wrote; return whether there may be more."""
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return False
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if data:
            self._say(self._outputs[fd], data)
            return True
        if not self._terminal:
            self._forget(fd)
            del self._outputs[fd]
            os.close(fd)
        else:
            self._forget(fd)
            self._outputs.pop(fd)
        return False

    def _forget(self, fd: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def _say(self, kind: bytes, data: bytes) -> None:
        if self._present:
            self._to_client += _HEAD.pack(kind, len(data)) + data

    def _serve(self) -> None:
        """Take what the client sends, and send what there is for it."""
        try:
            with contextlib.suppress(BlockingIOError):
                while self._to_client:
                    del self._to_client[: self._connection.send(self._to_client)]
            data = self._connection.recv(_PIECE)
            if not data:
                raise ConnectionResetError
            self._received += data
            for kind, payload in self._frames():
                if kind == INPUT:
                    self._to_command += payload
                elif kind == END_OF_INPUT:
                    self._input_ends = True
                elif kind == SIZE and self._terminal and len(payload) == 4:
                    rows, columns = struct.unpack(">HH", payload)
                    window = struct.pack("4H", rows, columns, 0, 0)
                    fcntl.ioctl(self._input, termios.TIOCSWINSZ, window)
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            self._client_left()

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        while len(self._received) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._received)
            if length > _FULL:
                raise ValueError("The frame is too long.")
            if len(self._received) < _HEAD.size + length:
                return
            payload = bytes(self._received[_HEAD.size : _HEAD.size + length])
            del self._received[: _HEAD.size + length]
            yield kind, payload

    def _feed(self) -> None:
        """Hand on what was typed, and the end of it."""
        if self._input < 0:
            return
        try:
            while self._to_command:
                del self._to_command[: os.write(self._input, self._to_command)]
        except BlockingIOError:
            return
        except OSError:  # the command reads no more
            self._to_command.clear()
        if self._input_ends and not self._terminal:
            self._forget(self._input)
            os.close(self._input)
            self._input = -1

    def _client_left(self) -> None:
        self._present = False
        self._forget(self._connection.fileno())
        self._to_client.clear()
        self._hang_up()

    def _hang_up(self) -> None:
        """End the command as a closed terminal does, and soon by force."""
        self._signal(signal.SIGHUP if self._terminal else signal.SIGTERM)
        self._signal(signal.SIGCONT)
        self._kill_at = time.monotonic() + _GRACE_S

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, number)

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return None
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _finish(self, code: int) -> None:
        """Send what the command still wrote, and its exit code."""
        for fd in list(self._outputs):
            while self._read(fd):
                pass
        self._say(EXIT, b"%d" % code)
        self._connection.settimeout(_GRACE_S)
        with contextlib.suppress(OSError):
            self._connection.sendall(self._to_client)


def _execute(launch: dict[str, Any]) -> None:
    """In the child: become the command, or say why not."""
    try:
        signal.set_wakeup_fd(-1)
        os.umask(launch.get("umask", 0o022))
        os.closerange(3, 1 << 16)
        exec_job.execute(launch)
    except exec_job.CannotStartError as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
    finally:
        os._exit(_NOT_STARTED)
