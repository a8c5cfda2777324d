"""
Identity of the peer, from the connection.

On the unix socket the kernel knows the peer's uid. ASGI has no word for that, so the protocol
class puts it into the scope of every request of the connection; TCP connections get nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PEER = "berth.peer_uid"
_CREDENTIALS = struct.Struct("3i")


class PeerProtocol(HttpToolsProtocol):
    """HTTP whose requests over a unix socket carry the peer's uid in `scope[PEER]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once per connection."""
        super().connection_made(transport)
        uid = _peer_uid(transport.get_extra_info("socket"))
        if uid is None:
            return
        inner: Any = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope[PEER] = uid
            await inner(scope, receive, send)

        self.app = app


def _peer_uid(connection: socket.socket | None) -> int | None:
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(raw)
    # The kernel answers -1 when it does not know.
    return uid if uid >= 0 else None
