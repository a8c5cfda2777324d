"""Server-sent events: a stream that notices at once when either side leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from berth_server.api.context import Context

# Proxies and clients take a silent connection for a dead one.
_KEEP_ALIVE_S = 15.0
_RETRY_MS = 1000


def frame(model: BaseModel, *, name: str | None = None, event_id: int | None = None) -> bytes:
    """One event. Without a name it is a plain message."""
    head = f"event: {name}\n" if name else ""
    if event_id is not None:
        head += f"id: {event_id}\n"
    # JSON escapes every line end, so that the data is one line.
    return head.encode() + b"data: " + model.__pydantic_serializer__.to_json(model) + b"\n\n"


class EventStream(Response):
    """
    Sends what `frames` yields until it ends, the client leaves, or the server does; then it
    says `bye`, so that clients know to come back.
    """

    media_type = "text/event-stream"

    def __init__(self, context: Context, frames: AsyncIterator[bytes]) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._context = context
        self._frames = frames
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the stream."""
        del scope
        start: dict[str, Any] = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        # Without a blank line: it belongs to the first event, whichever that will be.
        await self._send(send, f"retry: {_RETRY_MS}\n".encode())
        async with anyio.create_task_group() as group:
            group.start_soon(self._pump, send, group.cancel_scope)
            group.start_soon(self._keep_alive, send)
            group.start_soon(self._leave, send, group.cancel_scope)
            await _disconnected(receive)
            group.cancel_scope.cancel()

    async def _pump(self, send: Send, scope: anyio.CancelScope) -> None:
        async for one in self._frames:
            await self._send(send, one)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        scope.cancel()

    async def _keep_alive(self, send: Send) -> None:
        while True:
            await anyio.sleep(_KEEP_ALIVE_S)
            if anyio.current_time() - self._sent_at >= _KEEP_ALIVE_S - 1:
                await self._send(send, b": still here\n\n")

    async def _leave(self, send: Send, scope: anyio.CancelScope) -> None:
        await self._context.closing.wait()
        bye = b"event: bye\ndata: {}\n\n"
        await send({"type": "http.response.body", "body": bye, "more_body": False})
        scope.cancel()

    async def _send(self, send: Send, body: bytes) -> None:
        self._sent_at = anyio.current_time()
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
