"""Queries on the box's GPUs: which there are, which are drained, who used them how long."""

from __future__ import annotations

from dataclasses import dataclass

from berth_server.store.database import Reader, Transaction

_ROOMY = 1 << 50  # the schema lets no share exceed its GPU


_MOST_LEASES = 20_000


@dataclass(slots=True, frozen=True)
class KnownGpu:
    """A GPU that was there when the worker last looked."""

    uuid: str
    index: int
    name: str
    memory_total_bytes: int

    @property
    def node(self) -> str:
        """On a cluster the node that its UUID names; empty on a box."""
        return self.uuid.rpartition(":")[0]


@dataclass(slots=True, frozen=True)
class Drain:
    """A GPU onto which no new job goes."""

    gpu_uuid: str
    reason: str | None
    actor: str
    since: float
    until: float | None = None


def known(reader: Reader) -> list[KnownGpu]:
    """The GPUs of the last snapshot, in index order."""
    sql = 'SELECT uuid, "index", name, memory_total_bytes FROM gpus WHERE present ORDER BY "index"'
    return [KnownGpu(*row) for row in reader.all(sql)]


def remember(tx: Transaction, gpus: list[KnownGpu], now: float) -> None:
    """Take these for the box's GPUs."""
    tx.execute("UPDATE gpus SET present = 0")
    tx.many(
        'INSERT INTO gpus (uuid, "index", name, memory_total_bytes, present, last_seen_at) '
        "VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (uuid) DO UPDATE SET "
        '"index" = excluded."index", name = excluded.name, present = 1, '
        "memory_total_bytes = excluded.memory_total_bytes, last_seen_at = excluded.last_seen_at",
        [(gpu.uuid, gpu.index, gpu.name, gpu.memory_total_bytes, now) for gpu in gpus],
    )


def remember_unseen(tx: Transaction, gpus: list[tuple[str, int]]) -> None:
    """Take note of GPUs, by UUID and index, that a share holds and no report has told of yet."""
    tx.many(
        'INSERT OR IGNORE INTO gpus (uuid, "index", name, memory_total_bytes, present, '
        "last_seen_at) VALUES (?, ?, 'unknown', ?, 0, 0)",
        [(uuid, index, _ROOMY) for uuid, index in gpus],
    )


def drains(reader: Reader) -> dict[str, Drain]:
    """Drained GPUs by UUID."""
    rows = reader.all("SELECT gpu_uuid, reason, actor, since, until FROM drains")
    return {row[0]: Drain(*row) for row in rows}


def drain(tx: Transaction, drain: Drain) -> None:
    """Drain a GPU, or give its drain a new reason and end."""
    tx.execute(
        "INSERT INTO drains (gpu_uuid, reason, actor, since, until) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (gpu_uuid) DO UPDATE SET reason = excluded.reason, actor = excluded.actor, "
        "until = excluded.until",
        (drain.gpu_uuid, drain.reason, drain.actor, drain.since, drain.until),
    )


def undrain(tx: Transaction, gpu_uuid: str) -> bool:
    """End a drain; False when there was none."""
    return tx.change("DELETE FROM drains WHERE gpu_uuid = ?", (gpu_uuid,)) > 0


def sizes(reader: Reader) -> dict[str, int]:
    """Memory in bytes of every GPU that was ever seen, by UUID."""
    return dict(reader.all("SELECT uuid, memory_total_bytes FROM gpus"))


@dataclass(slots=True, frozen=True)
class LeaseSpan:
    """A lease of a GPU, or of a share of it, from when to when; unix seconds."""

    user: str
    begin: float
    end: float | None
    """None while it is held."""
    memory_bytes: int | None
    """The share; None is the whole GPU."""
    gpu_bytes: int | None
    gpu_uuid: str


def lease_spans(reader: Reader, since: float) -> list[LeaseSpan]:
    """Every lease that reaches past `since`."""
    sql = (
        "SELECT j.user, l.acquired_at, l.released_at, l.memory_bytes, g.memory_total_bytes, "
        "l.gpu_uuid "
        "FROM leases l JOIN jobs j ON j.id = l.job_id LEFT JOIN gpus g ON g.uuid = l.gpu_uuid "
        "WHERE l.released_at IS NULL OR l.released_at > ?"
    )
    return [LeaseSpan(*row) for row in reader.all(sql, (since,))]


@dataclass(slots=True, frozen=True)
class PastLease:
    """The GPUs of an attempt that has given them back; unix seconds."""

    job_id: int
    name: str
    user: str
    begin: float
    end: float
    share: bool
    gpu_uuids: tuple[str, ...]


def past_leases(
    reader: Reader, since: float, *, least_s: float, limit: int
) -> tuple[list[PastLease], int]:
    """
    The released leases since a time by attempt, and the number of attempts left out.

    Left out are those shorter than `least_s` and, of more than `limit`, the oldest.
    """
    sql = (
        "SELECT l.job_id, j.name, j.user, min(l.acquired_at), max(l.released_at), "
        "max(l.memory_bytes IS NOT NULL), group_concat(l.gpu_uuid, char(10)) "
        "FROM (SELECT * FROM leases WHERE released_at > ? ORDER BY released_at DESC LIMIT ?) l "
        "JOIN jobs j ON j.id = l.job_id GROUP BY l.job_id, l.number"
    )
    rows = reader.all(sql, (since, _MOST_LEASES))
    found = [
        PastLease(job_id, name, user, begin, end, bool(share), tuple(uuids.split("\n")))
        for job_id, name, user, begin, end, share, uuids in rows
        if end - begin >= least_s
    ]
    found.sort(key=lambda one: (one.end, one.job_id))
    found = found[-limit:]
    return found, len(rows) - len(found)
