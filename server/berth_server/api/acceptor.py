"""
Acceptance of connections, so that one peer's flood of them is nobody else's wait.

A connection costs the server fifty times what it costs who opens and closes it. Whose it is, is
known before anything is spent on it: each peer's are taken at its own pace, the rest of a flood
waits or is turned away for the price of two system calls. The event loop's own acceptance takes
as long as connections come, in which nothing else is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
import struct
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import structlog

from berth_server.api.connections import Connections
from berth_server.api.local_peers import LocalPeers
from berth_server.api.pace import Pace

log = structlog.get_logger()
_CREDENTIALS = struct.Struct("3i")
# So many in a round of the event loop, a millisecond's work; then others are served. Counted, not
# timed: on a busy machine the time goes by without one being taken, and the queue stays full.
_IN_A_ROUND = 128
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_ROOM_PAUSE_S = 0.1
_HANDSHAKE_S = 10.0


@dataclass(frozen=True)
class Peer:
    """Owner of a connection."""

    who: Hashable
    """Key under which connections are counted: a user of this machine, or a remote network address."""
    uid: int | None
    """None over TCP."""


class Acceptor:
    """Takes the connections of one listening socket and hands each to a protocol."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[Peer], asyncio.Protocol],
        connections: Connections,
        pace: Pace | None,
        encryption: ssl.SSLContext | None = None,
    ) -> None:
        """Without a `pace`, all that come are taken at once."""
        self._encryption = encryption
        self._listener = listener
        self._protocol = protocol
        self._connections = connections
        self._pace = pace
        self._local = LocalPeers()
        self._loop = asyncio.get_running_loop()
        self._handing_over: set[asyncio.Task[object]] = set()
        self._held: dict[socket.socket, asyncio.TimerHandle] = {}
        self._is_open = False
        self._open()

    def close(self) -> None:
        """Take no more connections."""
        if self._is_open:
            self._loop.remove_reader(self._listener)
        self._is_open = False
        for connection, timer in self._held.items():
            timer.cancel()
            connection.close()
        self._held.clear()

    def _open(self) -> None:
        if self._listener.fileno() >= 0:
            self._is_open = True
            self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        """Take what has come, up to so many; the loop calls again while there is more."""
        now = time.monotonic()
        for _ in range(_IN_A_ROUND):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._pause(error)
                return
            connection.setblocking(False)  # noqa: FBT003 - the socket's own
            self._admit(connection, self._peer(connection, address), now)

    def _peer(self, connection: socket.socket, address: object) -> Peer:
        if connection.family == socket.AF_UNIX:
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _pid, uid, _gid = _CREDENTIALS.unpack(raw)
            # The kernel answers -1 when it does not know.
            uid = uid if uid >= 0 else None
            return Peer(("uid", uid), uid)
        uid = self._local.uid(connection)
        if uid is not None:
            return Peer(("uid", uid), None)
        host = str(address[0]) if isinstance(address, tuple) else ""
        return Peer(("address", network(host)), None)

    def _pause(self, error: OSError) -> None:
        log.warning(
            "no connection can be taken", action="connections.no_room", reason=error.strerror
        )
        self._loop.remove_reader(self._listener)
        self._is_open = False
        self._loop.call_later(_NO_ROOM_PAUSE_S, self._open)

    def _admit(self, connection: socket.socket, peer: Peer, now: float) -> None:
        wait_s = 0.0 if self._pace is None else self._pace.wait(peer.who, now)
        if wait_s == 0:
            self._hand_over(connection, peer)
            return
        if wait_s is None or not self._connections.wait(peer.who):
            connection.close()
            return
        self._held[connection] = self._loop.call_later(wait_s, self._take_up, connection, peer)

    def _take_up(self, connection: socket.socket, peer: Peer) -> None:
        del self._held[connection]
        self._connections.waited(peer.who)
        if _is_closed(connection):
            connection.close()
        else:
            self._hand_over(connection, peer)

    def _hand_over(self, connection: socket.socket, peer: Peer) -> None:
        task = self._loop.create_task(self._connect(connection, peer))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)

    async def _connect(self, connection: socket.socket, peer: Peer) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._protocol(peer),
                connection,
                ssl=self._encryption,
                ssl_handshake_timeout=_HANDSHAKE_S if self._encryption else None,
            )
        except OSError:
            with contextlib.suppress(OSError):
                connection.close()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def network(address: str) -> str:
    """
    Return what counts as one remote peer.

    A user of the box has sixteen million loopback addresses, and a host of IPv6 a whole /64.
    """
    address = address.removeprefix("::ffff:")
    if address == "::1" or address.startswith("127."):
        return "loopback"
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
