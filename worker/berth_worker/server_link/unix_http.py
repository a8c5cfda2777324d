"""
HTTP client for the server's unix socket, on the worker's event loop.

A dispatch waits for two of its requests. `http.client` needs a thread, which costs more than the
request: two hand-overs between threads, which then compete for the interpreter.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio


class ServerAwayError(Exception):
    """The server cannot be reached, or went away during a request; try again."""


class ServerRefusedError(Exception):
    """The server answered with an error; the message holds status and sentence."""


class Channel:
    """One connection, used by one task at a time. Everything sent over it is idempotent."""

    def __init__(self, path: Path, timeout_s: float, *, again: bool = True) -> None:
        """
        `timeout_s` limits the wait for an answer. `again`: a request that fails on a kept
        connection is sent once more on a new one, because an idle one may have been closed.
        """
        self._path = path
        self._again = again
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.connections = 0
        """Number of connections so far; when it grows, the server may have been restarted."""

    async def ask(self, method: str, target: str, body: bytes | None = None) -> bytes:
        """Send a request and return the body. Raises ServerAwayError, ServerRefusedError."""
        reused = self._streams is not None
        try:
            return await self._ask(method, target, body)
        except ServerAwayError:
            if not reused or not self._again:
                raise
        return await self._ask(method, target, body)

    async def _ask(self, method: str, target: str, body: bytes | None) -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: berth\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        status, content = 0, b""
        try:
            with anyio.fail_after(self._timeout_s):
                reader, writer = await self._connected()
                writer.write(f"{head}\r\n".encode() + (body or b""))
                status, content = await _read_answer(reader)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise ServerAwayError(str(error) or type(error).__name__) from None
        except BaseException:  # cancelled: an answer may be under way
            self.close()
            raise
        if not 200 <= status < 300:
            text = content[:500].decode(errors="replace")
            raise ServerRefusedError(f"{method} {target} was answered {status}: {text}")
        return content

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self.connections += 1
            self._streams = await asyncio.open_unix_connection(self._path)
        return self._streams

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body. Raises EOFError, ValueError, LimitOverrunError."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = (line.partition(b":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    if b"transfer-encoding" in headers:
        raise ValueError("the answer has no length")
    length = int(headers.get(b"content-length", b"0"))
    return int(first.split()[1]), await reader.readexactly(length)
