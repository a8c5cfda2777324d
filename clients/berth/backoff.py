"""Exponential backoff, one for every loop that tries again."""

from __future__ import annotations


class Backoff:
    """Pauses between attempts that double from `first_s` to `longest_s` seconds."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return the pause before the next attempt, in seconds."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """Begin again with the shortest pause: an attempt has succeeded."""
        self._next_s = self._first_s
