"""Turns: each user has so many requests in work at once, and the rest wait in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """
    Fair turns for any number of users.

    One user's thousand requests wait for each other and never for long in front of somebody
    else's: who waits longest without a turn in work is next, not whose request came first. In one
    round of the event loop each user begins one: a request that never waits is over within its
    round, and a thousand of them would be as well, before anybody else is looked at.
    """

    def __init__(self, each: int, total: int) -> None:
        """At most `each` turns of one user and `total` of all are taken at once."""
        self._each = each
        self._total = total
        self._taken: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._in_use = 0
        self._began: set[Hashable] = set()
        """Users who have begun a turn in this round of the event loop."""

    @asynccontextmanager
    async def turn(self, who: Hashable) -> AsyncGenerator[None]:
        """Wait for a turn and hold it until the block is left."""
        await self.take(who)
        try:
            yield
        finally:
            self.give(who)

    async def take(self, who: Hashable) -> None:
        """Wait for a turn, which has to be given back with `give`."""
        if self._free(who) and who not in self._waiting:
            self._count(who)
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(mine)
        try:
            await mine
        except BaseException:
            if mine.done() and not mine.cancelled():
                self.give(who)  # it was handed over while its request was cancelled
            else:
                self._leave(who, mine)
            raise

    def give(self, who: Hashable) -> None:
        """Give a turn back; the next one waiting gets it."""
        self._in_use -= 1
        left = self._taken[who] - 1
        if left:
            self._taken[who] = left
        else:
            del self._taken[who]
        self._hand_on()

    def waiting(self, who: Hashable) -> int:
        """Return how many requests of a user wait."""
        return len(self._waiting.get(who, ()))

    def _free(self, who: Hashable) -> bool:
        return (
            self._in_use < self._total
            and self._taken.get(who, 0) < self._each
            and who not in self._began
        )

    def _count(self, who: Hashable) -> None:
        if not self._began:
            asyncio.get_running_loop().call_soon(self._next_round)
        self._began.add(who)
        self._in_use += 1
        self._taken[who] = self._taken.get(who, 0) + 1

    def _next_round(self) -> None:
        self._began.clear()
        self._hand_on()

    def _hand_on(self) -> None:
        for who in list(self._waiting):
            if self._in_use >= self._total:
                return
            if not self._free(who):
                continue
            queue = self._waiting.pop(who)
            first = queue.popleft()
            if queue:
                # To the end: others come before this user's next one.
                self._waiting[who] = queue
            self._count(who)
            first.set_result(None)

    def _leave(self, who: Hashable, mine: asyncio.Future[None]) -> None:
        queue = self._waiting.get(who)
        if queue is None:
            return
        queue.remove(mine)
        if not queue:
            del self._waiting[who]
