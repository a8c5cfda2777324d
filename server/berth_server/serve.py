"""uvicorn on our own sockets, which stops at once on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from berth.daemons import readiness
from berth.units import parse_size
from berth_server.api.acceptor import Acceptor, Peer
from berth_server.api.connections import OWN
from berth_server.api.context import Context
from berth_server.api.identity import ConnectionLimits, PeerProtocol
from berth_server.api.pace import Pace
from berth_server.tls import Certificate

# Streams end by themselves; other requests are cut off after this.
_PATIENCE_S = 1
# A connection beyond its peer's pace waits for so long at most, or is closed.
_LONGEST_WAIT_S = 5.0
# So many at once wait for nothing: a page and its streams, a handful of commands.
_BURST = 8
_WORKER = Peer(OWN, os.geteuid())


@dataclass(frozen=True)
class Listeners:
    """Sockets that the server listens on."""

    worker: socket.socket
    """For the daemons' own user alone: what others do elsewhere fills no queue here."""
    public: tuple[socket.socket, ...]
    certificate: Certificate | None = None
    """For HTTPS over TCP; HTTP without."""


class DaemonServer(uvicorn.Server):
    """Server that waits for its end without a periodic tick, and then ends its streams."""

    def __init__(self, config: uvicorn.Config, context: Context, listeners: Listeners) -> None:
        super().__init__(config)
        chosen = context.settings
        self._context = context
        self._listeners = listeners
        self._limits = ConnectionLimits(
            connections=context.connections,
            header_bytes=parse_size(chosen.header_max),
            body_bytes=parse_size(chosen.body_max),
            timeout_s=chosen.request_timeout,
        )
        self._acceptors: list[Acceptor] = []
        self._notify = readiness.take()

    async def serve_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        await self._serve([self._listeners.worker, *self._listeners.public])

    def leave(self) -> None:
        """Stop serving at once."""
        self.should_exit = True
        self._context.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        del sockets
        await super().startup([])
        connections = self._context.connections
        each_second = self._context.settings.connections_per_second
        pace = Pace(each_second, max(_BURST, round(each_second / 2)), _LONGEST_WAIT_S)
        self._acceptors = [
            Acceptor(self._listeners.worker, lambda _: self._protocol(_WORKER), connections, None),
            *(
                Acceptor(one, self._protocol, connections, pace, self._encryption(one))
                for one in self._listeners.public
            ),
        ]
        if not self.should_exit:
            readiness.tell(self._notify)

    def _encryption(self, listener: socket.socket) -> ssl.SSLContext | None:
        certificate = self._listeners.certificate
        return certificate.context if certificate and listener.family != socket.AF_UNIX else None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that are there."""
        for acceptor in self._acceptors:
            acceptor.close()
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        """Wait for `leave`. uvicorn would wake ten times a second for a date header."""
        await self._context.closing.wait()

    def _protocol(self, peer: Peer) -> PeerProtocol:
        return PeerProtocol(
            peer=peer,
            limits=self._limits,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )


def serve(app: FastAPI, context: Context, listeners: Listeners) -> None:
    """Serve on these sockets until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_PATIENCE_S,
    )
    server = DaemonServer(config, context, listeners)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve_until_signal())
