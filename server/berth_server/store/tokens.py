"""Queries on bearer tokens and browser sessions."""

from __future__ import annotations

from dataclasses import dataclass

from berth_server.store.database import Reader, Transaction

_COLUMNS = "id, kind, name, user, uid, created_at, last_used_at, expires_at"


@dataclass(slots=True, frozen=True)
class TokenRecord:
    """One row of `tokens`, without its digest."""

    id: int
    kind: str
    name: str
    user: str
    uid: int
    created_at: float
    last_used_at: float | None
    expires_at: float | None


def by_digest(reader: Reader, digest: str, kind: str) -> TokenRecord | None:
    """The token or session with this digest."""
    sql = f"SELECT {_COLUMNS} FROM tokens WHERE digest = ? AND kind = ?"  # noqa: S608 - names of our own columns
    row = reader.one(sql, (digest, kind))
    return None if row is None else TokenRecord(*row)


def get(reader: Reader, token_id: int) -> TokenRecord | None:
    """One token or session."""
    row = reader.one(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (token_id,))  # noqa: S608 - as above
    return None if row is None else TokenRecord(*row)


def of(reader: Reader, uid: int | None) -> list[TokenRecord]:
    """The tokens (not sessions) of a user, of all users with None; newest first."""
    sql = (
        f"SELECT {_COLUMNS} FROM tokens WHERE kind = 'token' AND (? IS NULL OR uid = ?) "  # noqa: S608 - as above
        "ORDER BY id DESC"
    )
    return [TokenRecord(*row) for row in reader.all(sql, (uid, uid))]


def insert(tx: Transaction, record: TokenRecord, digest: str) -> int:
    """Write a new one; its id."""
    tx.execute(
        "INSERT INTO tokens (kind, name, user, uid, digest, created_at, last_used_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.kind,
            record.name,
            record.user,
            record.uid,
            digest,
            record.created_at,
            record.last_used_at,
            record.expires_at,
        ),
    )
    return tx.value("SELECT last_insert_rowid()")


def used(tx: Transaction, token_id: int) -> None:
    """Note that it was used."""
    tx.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (tx.now, token_id))


def delete(tx: Transaction, token_id: int) -> None:
    """Forget it."""
    tx.execute("DELETE FROM tokens WHERE id = ?", (token_id,))


def forget_expired(tx: Transaction) -> None:
    """Forget those that work no more."""
    tx.execute("DELETE FROM tokens WHERE expires_at IS NOT NULL AND expires_at <= ?", (tx.now,))
