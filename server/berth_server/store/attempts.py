"""Queries on attempts and on what they hold: GPUs and ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from berth.protocol.specs import JobSpec
from berth_server.store.database import Reader, Transaction
from berth_server.store.jobs import chunks
from berth_server.store.records import ATTEMPT_COLUMNS, AttemptRecord
from berth_server.store.specs import decode

_NAMES = [f.name for f in fields(AttemptRecord)]
_values = attrgetter(*_NAMES)
_INSERT = f"INSERT INTO attempts ({ATTEMPT_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608 - names of our own columns
_GET = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? AND number = ?"  # noqa: S608 - as above
_UNRELEASED = (
    f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE released_at IS NULL ORDER BY job_id, number"  # noqa: S608 - as above
)


def insert(tx: Transaction, record: AttemptRecord) -> None:
    """Write a new attempt."""
    tx.execute(_INSERT, _values(record))


def get(reader: Reader, job_id: int, number: int) -> AttemptRecord | None:
    """One attempt."""
    row = reader.one(_GET, (job_id, number))
    return None if row is None else AttemptRecord(*row)


def last(reader: Reader, job_id: int) -> AttemptRecord | None:
    """The newest attempt of a job, if it has any."""
    sql = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? ORDER BY number DESC LIMIT 1"  # noqa: S608 - names of our own columns
    row = reader.one(sql, (job_id,))
    return None if row is None else AttemptRecord(*row)


def of_jobs(reader: Reader, ids: Sequence[int]) -> dict[int, list[AttemptRecord]]:
    """All attempts of these jobs, by job, in order."""
    found: dict[int, list[AttemptRecord]] = {}
    for marks, chunk in chunks(ids):
        sql = (
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id IN ({marks}) "  # noqa: S608 - marks only
            "ORDER BY job_id, number"
        )
        for row in reader.all(sql, chunk):
            record = AttemptRecord(*row)
            found.setdefault(record.job_id, []).append(record)
    return found


def unreleased(reader: Reader) -> list[AttemptRecord]:
    """Every attempt whose leases are not released, oldest first."""
    return [AttemptRecord(*row) for row in reader.all(_UNRELEASED)]


def unreleased_of(reader: Reader, ids: Sequence[int]) -> list[AttemptRecord]:
    """The attempts of these jobs whose leases are not released."""
    found: list[AttemptRecord] = []
    for marks, chunk in chunks(ids):
        sql = (
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id IN ({marks}) "  # noqa: S608 - marks only
            "AND released_at IS NULL ORDER BY job_id, number"
        )
        found += [AttemptRecord(*row) for row in reader.all(sql, chunk)]
    return found


def lease(
    tx: Transaction,
    record: AttemptRecord,
    gpu_uuids: Sequence[str],
    port: int | None,
    memory_bytes: int | None = None,
) -> None:
    """
    Let an attempt hold GPUs, or a share of one (`memory_bytes`), and a port.

    Raises sqlite3.IntegrityError when one of them has a holder, or no room for the share: the
    schema's own promise.
    """
    if gpu_uuids:
        tx.many(
            "INSERT INTO leases (gpu_uuid, job_id, number, memory_bytes, acquired_at) "
            "VALUES (?, ?, ?, ?, ?)",
            [
                (uuid, record.job_id, record.number, memory_bytes, record.created_at)
                for uuid in gpu_uuids
            ],
        )
    if port is not None:
        tx.execute(
            "INSERT INTO port_leases (port, job_id, number, acquired_at) VALUES (?, ?, ?, ?)",
            (port, record.job_id, record.number, record.created_at),
        )


def hold_others(tx: Transaction, job_id: int, number: int, gpus: str) -> None:
    """Write which GPUs an attempt has after its leases have moved; JSON as in its record."""
    tx.execute(
        "UPDATE attempts SET gpus = ? WHERE job_id = ? AND number = ?", (gpus, job_id, number)
    )
    tx.touched.add(job_id)


def lease_past(
    tx: Transaction, record: AttemptRecord, gpu_uuids: Sequence[str], memory_bytes: int | None
) -> None:
    """Write the leases of an attempt that ended while no database knew it: its GPU hours count."""
    tx.many(
        "INSERT INTO leases (gpu_uuid, job_id, number, memory_bytes, acquired_at, released_at) "
        "SELECT ?, a.job_id, a.number, ?, COALESCE(a.started_at, a.ended_at), a.ended_at "
        "FROM attempts a WHERE a.job_id = ? AND a.number = ?",
        [(uuid, memory_bytes, record.job_id, record.number) for uuid in gpu_uuids],
    )


def release(tx: Transaction, job_id: int, number: int) -> bool:
    """Give back everything that an ended attempt holds; False when that was done before."""
    changed = tx.change(
        "UPDATE attempts SET released_at = ? "
        "WHERE job_id = ? AND number = ? AND state = 'ended' AND released_at IS NULL",
        (tx.now, job_id, number),
    )
    if not changed:
        return False
    for table in ("leases", "port_leases"):
        tx.execute(
            f"UPDATE {table} SET released_at = ? "  # noqa: S608 - two fixed names
            "WHERE job_id = ? AND number = ? AND released_at IS NULL",
            (tx.now, job_id, number),
        )
    return True


@dataclass(slots=True, frozen=True)
class Run:
    """An attempt that succeeded: its job's user, spec and work, and its length in seconds."""

    user: str
    spec: JobSpec
    length_s: float
    work: str | None


def runs(reader: Reader, limit: int) -> list[Run]:
    """The newest attempts that succeeded, newest first."""
    sql = (
        "SELECT j.user, j.spec, a.ended_at - a.started_at, j.work FROM jobs j "
        "JOIN attempts a ON a.job_id = j.id AND a.number = j.attempts "
        "WHERE j.state = 'succeeded' AND a.started_at IS NOT NULL ORDER BY j.id DESC LIMIT ?"
    )
    rows = reader.all(sql, (limit,))
    return [Run(user, decode(spec), length_s, work) for user, spec, length_s, work in rows]
