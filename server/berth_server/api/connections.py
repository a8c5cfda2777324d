"""Connections: how many one user may have, and how many the process can hold."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Hashable
from typing import Protocol

# Descriptors that are not connections: database, logs, run directories, pipes of searches.
_RESERVED = 128
_FEWEST = 8
OWN: Hashable = ("worker",)
"""Identity of Berth's own worker on its own socket: it has room whatever others do."""


class Connection(Protocol):
    """An open connection, as far as it is counted."""

    def unsent(self) -> int:
        """Return how many bytes of answers wait for the client to read them."""
        ...


class Connections:
    """Open connections by user: a uid of the unix socket, or a remote address."""

    def __init__(self, each: int, descriptors: int | None = None) -> None:
        """`descriptors` is how many the process may have open; by default its soft limit."""
        if descriptors is None:
            descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.total = max(2 * _FEWEST, descriptors - _RESERVED)
        # Nobody can have so many, open and waiting, that there is no room for another.
        self.each = max(_FEWEST, min(each, self.total // 4))
        self._open: dict[Hashable, set[Connection]] = {}
        self._behind: dict[Hashable, set[Connection]] = {}
        """Those whose answers pile up, as far as the transport says so."""
        self._waiting: Counter[Hashable] = Counter()
        self._count = 0

    def wait(self, who: Hashable) -> bool:
        """Count a connection that waits to be let in; False when there is no room for it."""
        if self._waiting[who] >= self.each or self._count >= self.total:
            return False
        self._waiting[who] += 1
        self._count += 1
        return True

    def waited(self, who: Hashable) -> None:
        """Count it no longer."""
        self._count -= 1
        self._waiting[who] -= 1
        if not self._waiting[who]:
            del self._waiting[who]

    def enter(self, who: Hashable, connection: Connection) -> bool:
        """Count a new connection; False when its user, or all together, have too many."""
        mine = self._open.setdefault(who, set())
        within = who == OWN or (len(mine) < self.each and self._count < self.total)
        mine.add(connection)
        self._count += 1
        return within

    def leave(self, who: Hashable, connection: Connection) -> None:
        """Forget a connection that is closed."""
        mine = self._open.get(who)
        if mine is None or connection not in mine:
            return
        mine.remove(connection)
        self.keeps_up(who, connection)
        self._count -= 1
        if not mine:
            del self._open[who]

    def falls_behind(self, who: Hashable, connection: Connection) -> None:
        """Note that a connection's answers pile up."""
        self._behind.setdefault(who, set()).add(connection)

    def keeps_up(self, who: Hashable, connection: Connection) -> None:
        """Note that they do not, or no longer."""
        behind = self._behind.get(who)
        if behind is not None:
            behind.discard(connection)
            if not behind:
                del self._behind[who]

    def unsent(self, who: Hashable) -> int:
        """Return how many bytes of answers pile up before a user, over all connections."""
        return sum(connection.unsent() for connection in self._behind.get(who, ()))


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 16)
    # Some kernels take no "unlimited" and some libraries walk over all of them.
    wanted = max(soft, min(wanted, 1 << 16))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted
