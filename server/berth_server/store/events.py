"""Queries on the audit log."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from berth.protocol.message import Message
from berth_server.store import messages
from berth_server.store.database import Reader, Transaction
from berth_server.store.jobs import chunks
from berth_server.store.records import EVENT_COLUMNS, EventRecord

INSERT = (
    "INSERT INTO events (time, kind, actor, job_id, number, gpu_uuid, message, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def write(
    tx: Transaction,
    kind: str,
    message: Message | str,
    *,
    job_id: int | None = None,
    number: int | None = None,
    gpu_uuid: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write one event, in the transaction of the change that it describes, with its actor."""
    facts = json.dumps(data, separators=(",", ":")) if data else None
    text = messages.encode(message)
    tx.execute(INSERT, (tx.now, kind, tx.actor, job_id, number, gpu_uuid, text, facts))
    tx.events += 1


def is_written(reader: Reader, kind: str, data: Mapping[str, Any]) -> bool:
    """Return whether there is an event of a kind with just these data."""
    facts = json.dumps(data, separators=(",", ":"))
    sql = "SELECT 1 FROM events WHERE kind = ? AND data = ? LIMIT 1"
    return reader.value(sql, (kind, facts)) is not None


def last_id(reader: Reader) -> int:
    """Id of the newest event; 0 before the first."""
    return reader.value("SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0


def after(
    reader: Reader, last_seen: int, *, limit: int, job_id: int | None = None
) -> list[EventRecord]:
    """Events with larger ids, in order of id."""
    only, values = _only(job_id)
    sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE id > ? {only} ORDER BY id LIMIT ?"  # noqa: S608 - fixed pieces
    return [EventRecord(*row) for row in reader.all(sql, (last_seen, *values, limit))]


def newest(reader: Reader, *, limit: int, job_id: int | None = None) -> list[EventRecord]:
    """The newest events, in order of id."""
    only, values = _only(job_id)
    sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE id > 0 {only} ORDER BY id DESC LIMIT ?"  # noqa: S608 - fixed pieces
    return [EventRecord(*row) for row in reader.all(sql, (*values, limit))][::-1]


def with_notice(
    reader: Reader, kinds: Collection[str], *, after: int, until: int
) -> list[tuple[int, str]]:
    """
    The jobs and kinds of events of these kinds, after one id up to another, in order; only jobs with
    webhooks. The database selects them: a list of 10,000 jobs makes as many events, and every
    other request would wait while Python looks at each.
    """
    marks = ",".join("?" * len(kinds))
    sql = (
        "SELECT e.job_id, e.kind FROM events e CROSS JOIN jobs j ON j.id = e.job_id "  # noqa: S608 - marks only
        f"WHERE e.id > ? AND e.id <= ? AND e.kind IN ({marks}) AND j.notifies ORDER BY e.id"
    )
    return [(row[0], row[1]) for row in reader.all(sql, (after, until, *kinds))]


def newest_of(
    reader: Reader, kinds: Collection[str], job_ids: Sequence[int]
) -> dict[int, EventRecord]:
    """The newest event of these kinds of each of these jobs, by job."""
    found: dict[int, EventRecord] = {}
    kind_marks = ",".join("?" * len(kinds))
    for marks, chunk in chunks(job_ids):
        sql = (
            f"SELECT {EVENT_COLUMNS} FROM events WHERE job_id IN ({marks}) "  # noqa: S608 - marks only
            f"AND kind IN ({kind_marks}) ORDER BY id"
        )
        for row in reader.all(sql, (*chunk, *kinds)):
            record = EventRecord(*row)
            if record.job_id is not None:
                found[record.job_id] = record
    return found


def of_kind(reader: Reader, kind: str, job_ids: Sequence[int]) -> list[EventRecord]:
    """The events of one kind of these jobs, in order of id."""
    found: list[EventRecord] = []
    for marks, chunk in chunks(job_ids):
        sql = (
            f"SELECT {EVENT_COLUMNS} FROM events WHERE job_id IN ({marks}) "  # noqa: S608 - marks only
            "AND kind = ? ORDER BY id"
        )
        found += [EventRecord(*row) for row in reader.all(sql, (*chunk, kind))]
    return found


def alerts_with_notice(
    reader: Reader, kinds: Collection[str], *, after: int, until: int
) -> list[tuple[int, str, str]]:
    """The job, the kind and the message, as stored, of each such event, of jobs with webhooks."""
    marks = ",".join("?" * len(kinds))
    sql = (
        "SELECT e.job_id, e.kind, e.message FROM events e CROSS JOIN jobs j ON j.id = e.job_id "  # noqa: S608 - marks only
        f"WHERE e.id > ? AND e.id <= ? AND e.kind IN ({marks}) AND j.notifies ORDER BY e.id"
    )
    return [(row[0], row[1], row[2]) for row in reader.all(sql, (after, until, *kinds))]


def _only(job_id: int | None) -> tuple[str, tuple[int, ...]]:
    return ("", ()) if job_id is None else ("AND job_id = ?", (job_id,))
