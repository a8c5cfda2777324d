"""Queries on submits that may come again."""

from __future__ import annotations

from dataclasses import dataclass

from berth_server.store.database import Reader, Transaction


@dataclass(slots=True, frozen=True)
class KnownSubmit:
    """The jobs of a submit with a key."""

    digest: str
    first_id: int
    count: int


def get(reader: Reader, uid: int, key: str) -> KnownSubmit | None:
    """Return the jobs of this user's submit with this key, if there was one."""
    sql = 'SELECT digest, first_id, "count" FROM idempotency_keys WHERE uid = ? AND key = ?'
    row = reader.one(sql, (uid, key))
    return None if row is None else KnownSubmit(*row)


def put(tx: Transaction, uid: int, key: str, digest: str, first_id: int, count: int) -> None:
    """Remember what a submit made."""
    tx.execute(
        "INSERT INTO idempotency_keys (uid, key, digest, first_id, count, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (uid, key, digest, first_id, count, tx.now),
    )


def forget(tx: Transaction, before: float) -> int:
    """Forget keys older than that; how many."""
    return tx.change("DELETE FROM idempotency_keys WHERE created_at < ?", (before,))
