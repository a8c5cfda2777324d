"""TCP ports for tests."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """
    Return a TCP port that was free a moment ago.

    It lies below those of outgoing connections, so that none takes it before its server does.
    """
    while True:
        port = random.randrange(20_000, 29_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
