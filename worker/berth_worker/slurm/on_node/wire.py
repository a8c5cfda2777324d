"""Messages between the processes of a gang: one JSON object a line, over TCP."""

from __future__ import annotations

import contextlib
import json
import socket
from types import FrameType
from typing import Any

BEAT_S = 2.0
"""Time between signs of life of each side."""
SILENT_S = 20.0
"""Time that a side may be silent before it counts as lost."""
_LONGEST_BYTES = 1 << 20


class Line:
    """One connection, read message by message."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        self.socket = connection
        self.said: dict[str, Any] = {}
        """The first message of the other side."""
        self._received = b""

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the messages that have arrived; None when the other side is gone."""
        try:
            chunk = self.socket.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not chunk or len(self._received) > _LONGEST_BYTES:
            return None
        *lines, self._received = (self._received + chunk).split(b"\n")
        found: list[dict[str, Any]] = []
        for line in lines:
            with contextlib.suppress(ValueError):
                message: object = json.loads(line)
                if isinstance(message, dict):
                    found.append(message)
        if found and not self.said:
            self.said = found[0]
        return found


def woken(number: int, frame: FrameType | None) -> None:
    """Handle a signal by waking up: the loop looks at what it means."""
    del number, frame


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a message; a connection that is gone is noticed by its reader."""
    with contextlib.suppress(OSError):
        connection.settimeout(5)
        connection.sendall(json.dumps(message).encode() + b"\n")
    with contextlib.suppress(OSError):
        connection.settimeout(0)
