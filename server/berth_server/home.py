"""The state folder: made with the right permissions, owned by one server at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from berth.daemons import identity

_SOCKET_PATH_LIMIT = 107


class HomeError(Exception):
    """The state folder cannot be used; the message names the mend."""


def prepare(home: Path) -> None:
    """Make the folders of a home. Others may pass to the socket, not list. Raises HomeError."""
    try:
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, mode in (("run", 0o755), ("log", 0o755), ("runs", 0o755)):
            (home / name).mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"The folder {home} cannot be made or used ({error.strerror}); set BERTH_HOME to one "
            "of your own."
        ) from None


class Lock:
    """
    The sole right to a home, for as long as this process lives.

    The kernel gives it up when the process dies, however it dies.
    """

    def __init__(self, home: Path) -> None:
        """Take it. Raises HomeError while another server has it."""
        self._path = home / "run" / "server.pid"
        try:
            self._handle = os.open(home / "run" / "server.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise HomeError(
                f"{home / 'run'} cannot be written ({error.strerror}); it belongs to somebody "
                "else: set BERTH_HOME to a folder of your own."
            ) from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            other = identity.read(self._path)
            who = f" (pid {other.pid})" if other else ""
            raise HomeError(
                f"Another server{who} runs on {home}; stop it with `berth down`, or set "
                "BERTH_HOME to another folder."
            ) from None

    def announce(self) -> None:
        """Write the pid file."""
        me = identity.of(os.getpid())
        assert me is not None
        fresh = self._path.with_suffix(".pid.new")
        fresh.write_text(me.line(), encoding="utf-8")
        fresh.replace(self._path)

    def release(self) -> None:
        """Remove the pid file and give the right up."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._handle)


def unix_socket(home: Path, mode: int) -> socket.socket:
    """A listening socket at `run/berth.sock`. Raises HomeError."""
    path = home / "run" / "berth.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise HomeError(
            f"{path} is longer than a unix socket's path may be ({_SOCKET_PATH_LIMIT} bytes); "
            "set BERTH_HOME to a shorter one."
        )
    # The lock is ours, so that whatever lies there is of a server that is dead. The new one
    # takes its place in one step: clients never find a socket that refuses.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(fresh))
    fresh.chmod(mode)
    listener.listen(1024)
    fresh.rename(path)
    listener.settimeout(0)
    return listener


def tcp_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises HomeError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise HomeError(
            f"{host}:{port} cannot be listened on ({error.strerror}); set BERTH_LISTEN to another "
            "address, or to off."
        ) from None
    listener.listen(1024)
    listener.settimeout(0)
    return listener
