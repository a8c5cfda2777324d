"""Rendezvous ports: each attempt gets one that no other process uses."""

from __future__ import annotations

import math
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

# How many ports are kept at hand: more starts than this in one pass wait for the next.
_AT_HAND = 16
# A port that was seen free longer ago is tried again before it is given out.
_FRESH_S = 1.0


class Ports:
    """
    Ports of the configured range that were seen free a moment ago.

    They are tried before a transaction, never inside one; the shim tries its port once more and
    claims it. The range is walked in a circle, so that a port comes again as late as possible:
    sockets linger after their process.
    """

    def __init__(self, first: int, last: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._range = range(first, last + 1)
        self._next = 0
        self._free: deque[int] = deque()
        self._clock = clock
        self._tried_at = -math.inf

    def top_up(self, leased: Iterable[int]) -> None:
        """Try ports until enough are at hand, or the range was walked once."""
        now = self._clock()
        if now - self._tried_at > _FRESH_S:
            self._tried_at = now
            self._free = deque(port for port in self._free if _is_free(port))
        if len(self._free) >= _AT_HAND:
            return
        taken = {*leased, *self._free}
        for _ in self._range:
            port = self._range[self._next]
            self._next = (self._next + 1) % len(self._range)
            if port not in taken and _is_free(port):
                self._free.append(port)
                if len(self._free) >= _AT_HAND:
                    return

    def take(self) -> int | None:
        """A port that was free when it was tried; None when there is none at hand."""
        return self._free.popleft() if self._free else None


def _is_free(port: int) -> bool:
    """Return whether no process listens on a port, and no attempt of another Berth has claimed it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        try:
            # The name that shims bind (`shim/ports.py`): binding it here could disturb one.
            other.connect(f"\0berth-port-{port}")
        except OSError:
            return _can_be_bound(port)
    return False


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            # On all addresses: launchers listen there, whatever MASTER_ADDR says.
            probe.bind(("", port))
        except OSError:
            return False
    return True
