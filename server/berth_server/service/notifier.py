"""Notifier of changes, for streams, the worker's held request and timers."""

from __future__ import annotations

from collections.abc import Callable


class Notifier:
    """A list of callbacks; each is called at every change, on the thread of the change."""

    def __init__(self) -> None:
        self._listeners: dict[int, Callable[[], None]] = {}
        self._next = 0

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at every change, until the returned function is called."""
        key, self._next = self._next, self._next + 1
        self._listeners[key] = listener

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    def send(self) -> None:
        """Call every listener."""
        for listener in list(self._listeners.values()):
            listener()

    def __len__(self) -> int:
        return len(self._listeners)
