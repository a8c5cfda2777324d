"""
Identity of the peer, and the limits of a connection.

On the unix socket the kernel knows the peer's uid. ASGI has no word for that, so the protocol
class puts it into the scope of every request of the connection; TCP connections get nothing.
Nothing here has an identity to trust yet, so everything is bounded before it is looked at.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from berth_server.api.acceptor import Peer
from berth_server.api.connections import Connections
from berth_server.api.problems import problem

PEER = "berth.peer_uid"
WHO = "berth.connection"
"""In the scope: whose connection it is, as `Connections` counts it."""
_MOST_HEADERS = 200
# A refused client may still be sending: it reads the answer only if it is not cut off at once.
_LINGER_S = 1.0
_DISCARDED = 512 << 10
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of a connection before its first request is read."""

    connections: Connections
    header_bytes: int
    body_bytes: int
    timeout_s: float


class HeadersTooLong(Exception):  # noqa: N818 - raised through the parser, which wraps it
    """The first line and the headers of a request exceed their limit."""


class PeerProtocol(HttpToolsProtocol):
    """HTTP whose requests over a unix socket carry the peer's uid in `scope[PEER]`."""

    def __init__(self, *args: Any, peer: Peer, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._who = peer.who
        self._uid = peer.uid
        self._refused = False
        self._arrival: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        """Bytes received since the head began, as far as whole reads tell."""
        self._parsed_bytes = 0
        """Bytes of the head that the parser has handed over."""
        self._fresh = False
        """A request began or ended within the present read."""
        self._surplus = 0
        """Bytes of a body that came after its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and put its peer into the scope of its requests."""
        super().connection_made(transport)
        within = self._limits.connections.enter(self._who, self)
        self._expect(self._limits.timeout_s)
        if not within:
            self._refuse(429, self._too_many)
            return
        inner: Any = self.app
        who, uid = self._who, self._uid

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope[WHO] = who
            if uid is not None:
                scope[PEER] = uid
            await inner(scope, receive, send)

        self.app = app

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._limits.connections.leave(self._who, self)
        self._cancel()
        super().connection_lost(exc)

    def unsent(self) -> int:
        """Return how many bytes of answers wait for the client to read them."""
        transport = self.transport
        return 0 if transport.is_closing() else transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        """Count the answers that its client does not read."""
        self._limits.connections.falls_behind(self._who, self)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Count them no longer."""
        self._limits.connections.keeps_up(self._who, self)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the connection was refused or its head is too long."""
        if self._refused:
            self._surplus += len(data)
            if self._surplus > _DISCARDED:
                self.transport.pause_reading()
            return
        if self._cycle is not None and self._cycle.response_complete and not self._in_head:
            self._surplus += len(data)
            if self._surplus > self._limits.body_bytes:
                self.transport.abort()
                return
        self._fresh = False
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_head and not self._fresh:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.header_bytes:
                self._refuse(431, self._too_long)
                return
        if self._in_head and self._arrival is None and not self._idle():
            self._expect(self._limits.timeout_s)

    def on_message_begin(self) -> None:
        """Start to count the head and the time."""
        self._in_head = self._fresh = True
        self._head_bytes = self._parsed_bytes = self._surplus = 0
        if self._arrival is None:
            self._expect(self._limits.timeout_s)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count a part of the first line."""
        self._parsed(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._parsed(len(name) + len(value) + 4)
        if len(self.headers) >= _MOST_HEADERS:
            raise HeadersTooLong
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self._in_head = self._fresh = True
        self._head_bytes = 0
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give the client a limited time to read the answer."""
        super().on_response_complete()
        if self._sending is None and self.unsent():
            self._sending = self.loop.call_later(self._limits.timeout_s, self._unread)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has too long a head, as problem+json."""
        if self._parsed_bytes > self._limits.header_bytes or self._many_headers():
            self._refuse(431, self._too_long)
        else:
            self._refuse(400, f"{msg.rstrip('.')}; speak HTTP/1.1.")

    @property
    def _too_long(self) -> str:
        return (
            f"The headers are longer than {self._limits.header_bytes >> 10} KiB or more than "
            f"{_MOST_HEADERS}; send less in them."
        )

    @property
    def _too_many(self) -> str:
        return (
            f"You have {self._limits.connections.each} connections open, or the server has no room "
            "for more; close some and try again."
        )

    def _many_headers(self) -> bool:
        return len(self.headers or ()) >= _MOST_HEADERS

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """The latest request; None before the first."""
        return self.cycle

    def _parsed(self, size: int) -> None:
        self._parsed_bytes += size
        if self._parsed_bytes > self._limits.header_bytes:
            raise HeadersTooLong

    def _idle(self) -> bool:
        """Return whether nothing of a further request has come."""
        return self._fresh and self._head_bytes == 0

    def _expect(self, seconds: float) -> None:
        self._arrival = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._arrival = None
        if self.flow.read_paused:
            # We make it wait, not the other way round.
            self._expect(self._limits.timeout_s)
            return
        self._refuse(
            408, "The request did not arrive in time; send it again over a better connection."
        )

    def _unread(self) -> None:
        self._sending = None
        if self.unsent():
            self.transport.abort()

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer with an error, and close the connection once the client could read it."""
        self._refused = True
        self._surplus = 0
        self._cancel()
        if self._cycle is not None and not self._cycle.response_complete:
            # An answer is under way, or its request is half here: there is nothing to add.
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = problem(status, sentence, request_id=None).body
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + bytes(body))
        self.loop.call_later(_LINGER_S, self.transport.close)

    def _cancel(self) -> None:
        for timer in (self._arrival, self._sending):
            if timer is not None:
                timer.cancel()
        self._arrival = self._sending = None
