"""
HTTP/1.1 for short answers of Berth's server over a plain socket.

`http.client` would load email and ssl, which takes as long as all the rest of a command. What is
not as simple as here raises `HttpError`, and the whole client asks.
"""

from __future__ import annotations

import _socket
import _struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from berth.sdk.address import Address

Place = tuple[int, Any]
_FIVE_SECONDS = _struct.pack("ll", 5, 0)
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


class HttpError(Exception):
    """The answer is not one that this module reads."""


def address_of(address: Address) -> Place | None:
    """Return family and address of the socket; None where it takes more than a plain one."""
    if address.socket is not None:
        return _socket.AF_UNIX, str(address.socket)
    scheme, _, where = address.base_url.partition("://")
    host, _, port = where.rpartition(":")
    plain = scheme == "http" and host and not set(where) & set("/@[]?#")
    if not plain or not port.isdigit() or int(port) > 65535:
        return None
    return _socket.AF_INET, (host, int(port))


def query(pairs: list[tuple[str, Any]]) -> str:
    """Return pairs as the query of a URL."""
    return "&".join(f"{_quoted(name)}={_quoted(str(value))}" for name, value in pairs)


def _quoted(text: str) -> str:
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode())


class Answer(NamedTuple):
    """An answer, whatever its status; headers by their small names."""

    status: int
    headers: dict[str, str]
    content: bytes


class Connection:
    """One connection, used for one request after the other."""

    def __init__(self, place: Place) -> None:
        """Connect. Raises OSError."""
        family, address = place
        # The C module: `socket` itself loads selectors and enums of all constants.
        self._socket = _socket.socket(family, _socket.SOCK_STREAM)
        self._host = "berth" if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._read = b""
        try:
            if family == _socket.AF_UNIX:
                # A connect with Python's timeout does not wait for room in the server's queue.
                self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _FIVE_SECONDS)
            else:
                self._socket.settimeout(5.0)
            self._socket.connect(address)
            self._socket.settimeout(30.0)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | None
    ) -> Answer:
        """Send a request and return its answer."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method == "POST":
            lines.append(f"Content-Length: {len(content or b'')}")
        head = "\r\n".join([*lines, "", ""])
        self._socket.sendall(head.encode("latin-1") + (content or b""))
        status, found = self._head()
        if "chunked" in found.get("transfer-encoding", ""):
            return Answer(status, found, self._chunks())
        length = found.get("content-length", "" if status != 204 else "0")
        if not length.isdigit():
            raise HttpError("an answer without its length")
        return Answer(status, found, self._exactly(int(length)))

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise HttpError("no answer of HTTP/1")
        pairs = (line.partition(":") for line in lines)
        return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            try:
                size = int(self._until(b"\r\n").split(b";")[0], 16)
            except ValueError:
                raise HttpError("a chunk without its length") from None
            if size == 0:
                while self._until(b"\r\n"):
                    pass
                return b"".join(parts)
            parts.append(self._exactly(size))
            self._exactly(2)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            self._more()
        found, _, self._read = self._read.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        parts = [self._read]
        have = len(self._read)
        while have < size:
            self._read = b""
            self._more()
            parts.append(self._read)
            have += len(self._read)
        whole = b"".join(parts)
        self._read = whole[size:]
        return whole[:size]

    def _more(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise HttpError("the connection was closed")
        self._read += data
