"""Watch over followed files: one look at all of them, however many readers wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

# Half of what a line may take to its reader (100 ms); ADR 21 has the cost.
_EVERY_S = 0.05


@dataclass(eq=False, slots=True)
class _Watched:
    size: Callable[[], int]
    known: int
    grown: Callable[[], None]


class GrowthWatch:
    """Looks at the size of every watched file every 50 ms; at nothing while none is watched."""

    def __init__(self) -> None:
        self._watched: set[_Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watch(
        self, size: Callable[[], int], known: int, grown: Callable[[], None]
    ) -> Generator[None]:
        """Call `grown`, at least once, when a file is larger than `known` bytes."""
        one = _Watched(size, known, grown)
        self._watched.add(one)
        if size() > known:
            grown()
        self._arm()
        try:
            yield
        finally:
            self._watched.remove(one)

    def _arm(self) -> None:
        if self._timer is None and self._watched:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        for one in tuple(self._watched):
            if one.size() > one.known:
                one.grown()
        self._arm()
