"""Queries on reservations: GPUs set aside for some users or groups."""

from __future__ import annotations

import json
from dataclasses import dataclass

from berth_server.store.database import Reader, Row, Transaction


@dataclass(slots=True, frozen=True)
class ReservationRecord:
    """One row of `reservations`. Times are unix seconds."""

    id: int
    gpus: tuple[str, ...]
    """UUIDs, in index order."""
    users: tuple[str, ...]
    groups: tuple[str, ...]
    starts_at: float
    ends_at: float
    reason: str
    actor: str


def all_of(reader: Reader) -> tuple[ReservationRecord, ...]:
    """Every reservation that has not been taken away, soonest first."""
    rows = reader.all(
        "SELECT id, gpus, users, groups, starts_at, ends_at, reason, actor FROM reservations "
        "ORDER BY starts_at, id"
    )
    return tuple(_record(row) for row in rows)


def insert(
    tx: Transaction,
    *,
    gpus: tuple[str, ...],
    users: tuple[str, ...],
    groups: tuple[str, ...],
    starts_at: float,
    ends_at: float,
    reason: str,
) -> int:
    """Write a reservation, as by the transaction's actor; its id."""
    listed = [json.dumps(one, ensure_ascii=False) for one in (gpus, users, groups)]
    cursor = tx.execute(
        "INSERT INTO reservations "
        "(gpus, users, groups, starts_at, ends_at, reason, actor, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*listed, starts_at, ends_at, reason, tx.actor, tx.now),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def delete(tx: Transaction, reservation_id: int) -> bool:
    """Take one away; False when it was not there."""
    return tx.change("DELETE FROM reservations WHERE id = ?", (reservation_id,)) > 0


def _record(row: Row) -> ReservationRecord:
    gpus, users, groups = (tuple(json.loads(text)) for text in row[1:4])
    return ReservationRecord(row[0], gpus, users, groups, row[4], row[5], row[6], row[7])
