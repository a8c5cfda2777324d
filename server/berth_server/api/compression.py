"""Compression of answers to browsers; those on the box itself read from a socket and need none."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from berth_server.api.context import CALLER
from berth_server.service.auth.callers import Caller

_LEAST_BYTES = 2048
_LEVEL = 4
_GZIP = 16 + zlib.MAX_WBITS


class Compression:
    """Middleware that compresses what signed-in browsers get, streams of events aside."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._compressing = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        caller: Caller | None = scope.get(CALLER)
        browser = caller is not None and caller.via in {"cookie", "proxy"}
        await (self._compressing if browser else self.app)(scope, receive, send)


async def compressed(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """
    Compress a stream of events, each sent whole at once.

    One window for all: the map of the box, which comes every second and changes little, takes a
    few hundred bytes.
    """
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    async for frame in frames:
        yield packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
