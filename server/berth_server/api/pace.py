"""Pace at which each peer's new connections are taken."""

from __future__ import annotations

from collections.abc import Hashable

_FORGET_ABOVE = 1024


class Pace:
    """
    So many events of one peer in a second on average, after a first burst.

    Kept as the one time up to which a peer has used what it may: an event moves it on.
    """

    def __init__(self, each_second: float, burst: int, longest_wait_s: float) -> None:
        """Events that would wait longer than `longest_wait_s` are refused."""
        self._gap_s = 1 / each_second
        self._ahead_s = burst / each_second
        self._longest_wait_s = longest_wait_s
        self._used_up_to: dict[Hashable, float] = {}

    def wait(self, who: Hashable, now: float) -> float | None:
        """Count an event; return the seconds that it has to wait, None where it is refused."""
        used = max(now, self._used_up_to.get(who, now))
        wait_s = used + self._gap_s - self._ahead_s - now
        if wait_s > self._longest_wait_s:
            return None
        if len(self._used_up_to) > _FORGET_ABOVE:
            self._used_up_to = {one: at for one, at in self._used_up_to.items() if at > now}
        self._used_up_to[who] = used + self._gap_s
        return max(0.0, wait_s)
