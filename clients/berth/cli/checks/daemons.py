"""Daemons, socket and address."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from berth.cli import text
from berth.cli.checks import job_environment
from berth.cli.checks.finding import Finding, fail, ok, warn
from berth.daemons import identity
from berth.home import DAEMONS, Home
from berth.sdk.address import Address

_LONGEST_SOCKET_PATH = 107
_FEW_DESCRIPTORS = 4096
_START = "berth up, or set BERTH_URL and BERTH_TOKEN to use a server elsewhere"


def findings(address: Address) -> Iterator[Finding]:
    """Check which daemons run, whether the server answers, and its version."""
    if address.socket is not None:
        yield _socket_path(address)
        yield from _pids(Home(address.socket.parent.parent))
    yield from _server(address)


def _socket_path(address: Address) -> Finding:
    path = str(address.socket)
    length = len(os.fsencode(path))
    if length > _LONGEST_SOCKET_PATH:
        return fail(
            "socket",
            f"{path} has {length} characters; a unix socket's path may have {_LONGEST_SOCKET_PATH}.",
            "set BERTH_HOME to a shorter path",
        )
    return ok("socket", f"{path}.")


def _pids(home: Home) -> Iterator[Finding]:
    for name in DAEMONS:
        who = identity.alive(home.pid(name))
        if who is None:
            yield warn(name, "Not running.", _START)
        else:
            yield ok(name, f"Running as pid {who.pid}.")
            if name == "server":
                yield _descriptors(who.pid)
            else:
                yield job_environment.finding(home, who.pid)
    if identity.alive(home.pid("server")) and identity.alive(home.supervisor_pid) is None:
        yield warn(
            "keeper",
            "`berth up` does not supervise server and worker.",
            "run `berth up` to take them over, unless systemd or a container supervises them",
        )


def _descriptors(pid: int) -> Finding:
    """Check how many connections the server can hold; it raises its soft limit to the hard one."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ok("descriptors", f"The limit of pid {pid} may not be read by you.")
    soft = next((line.split()[3] for line in lines if line.startswith("Max open files")), "?")
    if soft.isdigit() and int(soft) < _FEW_DESCRIPTORS:
        return warn(
            "descriptors",
            f"The server may open {soft} files and connections: a crowd will find it full.",
            "raise the hard limit (LimitNOFILE= under systemd, ulimit -Hn elsewhere) and restart",
        )
    return ok("descriptors", f"The server may open {soft} files and connections.")


def _server(address: Address) -> Iterator[Finding]:
    import berth
    from berth.sdk.client import Client
    from berth.sdk.errors import BerthError, Unreachable

    try:
        with Client(patience=0.0, timeout=10.0) as client:
            health = client.liveness()
            me = client.me()
    except Unreachable as error:
        if address.socket is None:
            yield fail("server", str(error), "check BERTH_URL")
        else:
            # A server that does not run is reported above, with its fix.
            if identity.alive(Home(address.socket.parent.parent).pid("server")):
                yield warn("server", str(error), "`berth down`, then `berth up`")
            yield _port()
        return
    except BerthError as error:
        yield fail("server", text.refusal(error), "check BERTH_TOKEN")
        return
    yield ok("server", f"Answers at {address.text}; you are {me.user}.")
    if health.version != berth.__version__:
        yield warn(
            "versions",
            f"The server is {health.version}, this client {berth.__version__}.",
            "restart the server with `berth down` and `berth up`, or update the client",
        )
    else:
        yield ok("versions", f"Server and client are {health.version}.")
    for problem in health.problems:
        yield warn("server", problem, "follow the sentence")


def _port() -> Finding:
    listen = os.environ.get("BERTH_LISTEN", "127.0.0.1:8787")
    host, _, port = listen.rpartition(":")
    try:
        with socket.create_server((host.strip("[]") or "127.0.0.1", int(port))):
            return ok("address", f"{listen} is free.")
    except (OSError, ValueError) as error:
        return fail(
            "address",
            f"The server cannot listen on {listen}: {error}.",
            "set BERTH_LISTEN to another",
        )
