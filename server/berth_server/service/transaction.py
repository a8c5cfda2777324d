"""The transaction around each change of the queue's state."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from berth_server.service.scheduling import planning
from berth_server.service.state import ServerState
from berth_server.store import gpus, reservations
from berth_server.store.database import Transaction


@contextlib.contextmanager
def change(
    server: ServerState, actor: str = "system", *, durable: bool = True
) -> Generator[Transaction]:
    """
    One change by one actor: its rows, its events and the plan that follows from it are one
    transaction. When this returns it is on disk and every listener has been called.

    With `durable=False` it survives a crash of the process, but perhaps not a power loss.
    """
    server.ports.top_up(_leased_ports(server))
    tx: Transaction | None = None
    generation, next_time = server.cache.generation, server.cache.next_time()
    try:
        with server.db.write(now=server.clock(), actor=actor, durable=durable) as tx:
            yield tx
            server.cache.refresh(tx, tx.touched, tx.now, tx.inserted)
            tx.inserted.clear()
            planning.plan_within(server, tx)
    except BaseException:
        if tx is not None:
            reader = server.db.read
            server.cache.refresh(reader, tx.touched, tx.now)
            server.drains = gpus.drains(reader)
            server.reservations = reservations.all_of(reader)
        raise
    if server.cache.generation != generation:
        server.on_desired.send()
    if server.cache.next_time() != next_time:
        server.on_due.send()
    if tx.events:
        server.on_event.send()


def _leased_ports(server: ServerState) -> set[int]:
    return {a.master_port for a in server.cache.alive.values() if a.master_port is not None}
