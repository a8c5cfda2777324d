"""Rendezvous ports: each attempt gets one that no other process uses."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable

# How many ports are kept at hand: more starts than this in one pass wait for the next.
_AT_HAND = 16


class Ports:
    """
    Ports of the configured range that were seen free.

    They are tried before a transaction, never inside one. The range is walked in a circle, so
    that a port comes again as late as possible: sockets linger after their process.
    """

    def __init__(self, first: int, last: int) -> None:
        self._range = range(first, last + 1)
        self._next = 0
        self._free: deque[int] = deque()

    def top_up(self, leased: Iterable[int]) -> None:
        """Try ports until enough are at hand, or the range was walked once."""
        if len(self._free) >= _AT_HAND:
            return
        taken = {*leased, *self._free}
        for _ in self._range:
            port = self._range[self._next]
            self._next = (self._next + 1) % len(self._range)
            if port not in taken and _can_be_bound(port):
                self._free.append(port)
                if len(self._free) >= _AT_HAND:
                    return

    def take(self) -> int | None:
        """A port that was free when it was tried; None when there is none at hand."""
        return self._free.popleft() if self._free else None


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            # On all addresses: launchers listen there, whatever MASTER_ADDR says.
            probe.bind(("", port))
        except OSError:
            return False
    return True
