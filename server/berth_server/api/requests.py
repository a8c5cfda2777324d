"""Work on one request: its body within its limit, and the turn it holds."""

from __future__ import annotations

from collections.abc import Hashable

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from berth_server.api.problems import ApiError
from berth_server.api.turns import Turns


class Turn:
    """One turn of a user; given back once, however often that is said."""

    def __init__(self, turns: Turns, who: Hashable) -> None:
        self._turns = turns
        self._who = who
        self._held = False

    async def take(self) -> None:
        """Wait for it."""
        await self._turns.take(self._who)
        self._held = True

    def give(self) -> None:
        """Give it back."""
        if self._held:
            self._held = False
            self._turns.give(self._who)

    def until_streaming(self, send: Send) -> Send:
        """Return `send` that gives the turn back when an answer turns out to be a stream."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("more_body"):
                self.give()
            await send(message)

        return sending


async def read_body(receive: Receive, most: int) -> bytes:
    """Return the whole body, counted as it arrives. Raises ApiError, ClientDisconnect."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return `receive` that first gives a body that was read already."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def too_large(most: int) -> ApiError:
    """Return the refusal of a body."""
    size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
    return ApiError(413, f"The body is larger than {size}; split it into several requests.")
