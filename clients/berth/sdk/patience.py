"""How long a stream is opened again and again while the server is away."""

from __future__ import annotations

import time

from berth.sdk.errors import BerthError

_STEADY_S = 2.0


class Patience:
    """Pauses between attempts, longer each time, until the time without success is used up."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._since: float | None = None
        self._opened: float | None = None
        self._pause_s = 0.05

    def opened(self) -> None:
        """The stream stands. Only when it stays so for a while does the patience start afresh."""
        self._opened = time.monotonic()

    def spend(self, error: BerthError) -> None:
        """Pause before the next attempt; raise `error` when there is no patience left."""
        now = time.monotonic()
        if self._opened is not None and now - self._opened >= _STEADY_S:
            self._since = None
            self._pause_s = 0.05
        self._opened = None
        self._since = self._since if self._since is not None else now
        if now - self._since >= self._total_s:
            raise error
        time.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, 1.0)
