"""Start of the server: its claim on the state folder, and the sockets it listens on."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from berth.daemons import identity
from berth.daemons.lock import Lock
from berth.home import Home
from berth_server.store import disk

_SOCKET_PATH_LIMIT = 107
_PROBE_BYTES = 64 << 10
# As many as the kernel allows: net.core.somaxconn is 4,096 where nobody changed it.
_BACKLOG = 1024


class HomeError(Exception):
    """The state folder cannot be used; the message names the fix."""


def claim(home: Home) -> Lock:
    """Make the folders and take the home for this process. Raises HomeError."""
    lock = Lock(home.pid("server"))
    try:
        home.make()
        taken = lock.take()
    except OSError as error:
        if disk.is_full(error):
            raise HomeError(f"Berth cannot start: {disk.full_message(home.folder)}") from None
        raise HomeError(
            f"The folder {home.folder} cannot be used ({error.strerror}); set BERTH_HOME to a "
            "folder of your own."
        ) from None
    if not taken:
        other = identity.read(lock.path)
        who = f" (pid {other.pid})" if other else ""
        raise HomeError(
            f"Another server{who} already uses {home.folder}; stop it with `berth down`, or set "
            "BERTH_HOME to another folder."
        )
    return lock


def probe(home: Home) -> None:
    """Write and remove a file, as the start does with several. Raises HomeError."""
    path = home.folder / f".probe-{os.getpid()}"
    try:
        path.write_bytes(b"\0" * _PROBE_BYTES)
    except OSError as error:
        if disk.is_full(error):
            raise HomeError(f"Berth cannot start: {disk.full_message(home.folder)}") from None
        raise HomeError(
            f"The folder {home.folder} cannot be used ({error.strerror}); set BERTH_HOME to a "
            "folder of your own."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def unix_socket(path: Path, mode: int) -> socket.socket:
    """Return a listening unix socket. Raises HomeError."""
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise HomeError(
            f"{path} is longer than a unix socket's path may be ({_SOCKET_PATH_LIMIT} bytes); "
            "set BERTH_HOME to a shorter one."
        )
    # This process holds the lock, so an existing socket belongs to a dead server. The new one
    # replaces it in one step: clients never find a socket that refuses.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(fresh))
    fresh.chmod(mode)
    listener.listen(_BACKLOG)
    fresh.rename(path)
    listener.settimeout(0)
    return listener


def tcp_socket(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Raises HomeError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise HomeError(
            f"The server cannot listen on {host}:{port} ({error.strerror}); set BERTH_LISTEN to another "
            "address, or to off."
        ) from None
    listener.listen(_BACKLOG)
    listener.settimeout(0)
    return listener
