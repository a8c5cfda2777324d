"""Retry budget of a stream while the server is away."""

from __future__ import annotations

import time

from berth.backoff import Backoff
from berth.sdk.errors import BerthError

_STEADY_S = 2.0


class Patience:
    """Growing pauses between attempts until `total_s` seconds have passed without success."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._since: float | None = None
        self._opened: float | None = None
        self._backoff = Backoff(0.05, 1.0)

    def opened(self) -> None:
        """Note that the stream is open. The budget is full again once it has stayed open a while."""
        self._opened = time.monotonic()

    def spend(self, error: BerthError) -> None:
        """Pause before the next attempt; raise `error` when the budget is used up."""
        now = time.monotonic()
        if self._opened is not None and now - self._opened >= _STEADY_S:
            self._since = None
            self._backoff.reset()
        self._opened = None
        self._since = self._since if self._since is not None else now
        if now - self._since >= self._total_s:
            raise error
        time.sleep(self._backoff.next_s())
