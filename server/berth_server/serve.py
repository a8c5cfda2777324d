"""uvicorn on our own sockets, which stops at once on a signal."""

from __future__ import annotations

import asyncio
import functools
import signal
import socket

import uvicorn
from fastapi import FastAPI

from berth.daemons import readiness
from berth.units import parse_size
from berth_server.api.context import Context
from berth_server.api.identity import ConnectionLimits, PeerProtocol

# Streams end by themselves; other requests are cut off after this.
_PATIENCE_S = 1


class DaemonServer(uvicorn.Server):
    """Server that waits for its end without a periodic tick, and then ends its streams."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context
        self._notify = readiness.take()

    async def run_on(self, sockets: list[socket.socket]) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        await self._serve(sockets)

    def leave(self) -> None:
        """Stop serving at once."""
        self.should_exit = True
        self._context.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            readiness.tell(self._notify)

    async def main_loop(self) -> None:
        """Wait for `leave`. uvicorn would wake ten times a second for a date header."""
        await self._context.closing.wait()


def serve(app: FastAPI, context: Context, sockets: list[socket.socket]) -> None:
    """Serve on these sockets until SIGTERM or SIGINT."""
    chosen = context.settings
    limits = ConnectionLimits(
        connections=context.connections,
        header_bytes=parse_size(chosen.header_max),
        body_bytes=parse_size(chosen.body_max),
        timeout_s=chosen.request_timeout,
    )
    config = uvicorn.Config(
        app,
        http=functools.partial(PeerProtocol, limits=limits),  # pyright: ignore[reportArgumentType] - called, nothing else
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
        backlog=1024,
    )
    server = DaemonServer(config, context)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.run_on(sockets))
