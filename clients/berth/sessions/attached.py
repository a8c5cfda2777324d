"""Terminal attached to a job's session."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Generator
from pathlib import Path
from types import FrameType

from berth.sessions import SOCKET, frames, through

DETACH = b"\x1d"
"""Ctrl-] lets go of the session."""
_PIECE = 1 << 16
_PEER = struct.Struct("3i")  # pid, uid, gid


class Gone(Exception):  # noqa: N818 - reads as what happened
    """The session ended without saying how."""


def connect(folder: Path, name: str = SOCKET) -> socket.socket:
    """
    Connect to the session in a run directory. Raises OSError while there is none.

    The folder is its user's, who may put anything in the socket's place: a link to somebody
    else's socket would be given what is typed here, with the rights of who types it.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(through(descriptor, name))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        if _PEER.unpack(credentials)[1] != os.fstat(descriptor).st_uid:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "not the session of the job's user")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(descriptor)
    return connection


def attach(connection: socket.socket) -> int | None:
    """Relay until the session ends; return its exit code, None when detached. Raises Gone."""
    with connection, _raw(), _resizing(connection):
        return _relay(connection)


def pipe(connection: socket.socket) -> int:
    """Relay without a terminal until the command ends; return its exit code. Raises Gone."""
    with connection:
        incoming = frames.Frames()
        sources: list[socket.socket | int] = [connection, sys.stdin.fileno()]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if connection in ready:
                if (code := _show(connection, incoming)) is not None:
                    return code
            elif len(ready):
                data = _read(sys.stdin.fileno())
                if not data:
                    sources.pop()
                # What it no longer reads is nobody's any more; its exit code still comes.
                with contextlib.suppress(OSError):
                    kind = frames.INPUT if data else frames.END_OF_INPUT
                    connection.sendall(frames.frame(kind, data))


def _show(connection: socket.socket, incoming: frames.Frames) -> int | None:
    """Print what the session sent; return its exit code, None before its end. Raises Gone."""
    data = connection.recv(_PIECE)
    if not data:
        raise Gone
    for kind, payload in incoming.feed(data):
        if kind == frames.EXIT:
            return int(payload)
        stream = sys.stderr if kind == frames.ERROR else sys.stdout
        stream.buffer.write(payload)
        stream.buffer.flush()
    return None


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError:
        return b""


def _relay(connection: socket.socket) -> int | None:
    incoming = frames.Frames()
    typed = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([connection, typed], [], [])
        if connection in ready and (code := _show(connection, incoming)) is not None:
            return code
        if typed in ready:
            data = os.read(typed, _PIECE)
            before, found, _ = data.partition(DETACH)
            if before:
                connection.sendall(frames.frame(frames.INPUT, before))
            if found or not data:
                return None


@contextlib.contextmanager
def _raw() -> Generator[None]:
    """Every key goes to the session, Ctrl-C and what was typed ahead too."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(connection: socket.socket) -> Generator[None]:
    """The session has this terminal's size, now and when it changes."""

    def tell(_number: int = 0, _frame: FrameType | None = None) -> None:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        with contextlib.suppress(OSError):
            connection.sendall(frames.frame(frames.SIZE, frames.WINDOW.pack(rows, columns)))

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        tell()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
