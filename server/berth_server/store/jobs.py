"""Queries on jobs, their dependencies and labels."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TypeVar

from berth.protocol.jobs import JobSpec
from berth_server.store.database import Reader, Row, Transaction
from berth_server.store.records import JOB_COLUMNS, JobRecord
from berth_server.store.specs import decode, encode

_OWN = [f.name for f in fields(JobRecord) if f.name != "spec"]
_OF_SPEC = ("spec", "name", "command_text", "notifies")
_INSERT = (
    f"INSERT INTO jobs ({', '.join([*_OWN, *_OF_SPEC])}) "  # noqa: S608 - names of our own columns
    f"VALUES ({', '.join('?' * (len(_OWN) + len(_OF_SPEC)))})"
)
_GET = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"  # noqa: S608 - as above
K = TypeVar("K", int, str)
_CHUNK = 500
_ABOVE_ALL = 2**63 - 1
_J_COLUMNS = ", ".join(f"j.{name}" for name in JOB_COLUMNS.split(", "))
_WILD = re.compile("[!%_]")
_values = attrgetter(*_OWN)


def insert(tx: Transaction, records: Sequence[JobRecord]) -> None:
    """Write new jobs; their ids come from `next_id`."""
    tx.many(_INSERT, [(*_values(record), *_spec_values(record.spec)) for record in records])


def spec_columns(spec: JobSpec) -> dict[str, object]:
    """The columns that a spec fills: itself as JSON, and what SQL filters by."""
    return dict(zip(_OF_SPEC, _spec_values(spec), strict=True))


def _spec_values(spec: JobSpec) -> tuple[str, str | None, str, bool]:
    command = shlex.join(spec.command) if isinstance(spec.command, list) else spec.command
    return encode(spec), spec.name, command or spec.script or "", bool(spec.notify)


def _record(row: Row) -> JobRecord:
    return JobRecord(row[0], decode(row[1]), *row[2:])


def of_ablation(reader: Reader, ablation_id: str) -> list[JobRecord]:
    """The jobs that were made with an ablation, oldest first."""
    sql = f"SELECT {JOB_COLUMNS} FROM jobs WHERE ablation = ? ORDER BY id"  # noqa: S608 - names of our own columns
    return [_record(row) for row in reader.all(sql, (ablation_id,))]


def next_id(reader: Reader) -> int:
    """The id of the next job: one more than was ever given out."""
    return (reader.value("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'") or 0) + 1


def go_on_after(tx: Transaction, last: int) -> None:
    """Let the ids of jobs go on after `last`, if they have not come as far."""
    if next_id(tx) <= last:
        tx.change("DELETE FROM sqlite_sequence WHERE name = 'jobs'")
        tx.change("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", (last,))


def get(reader: Reader, job_id: int) -> JobRecord | None:
    """One job."""
    row = reader.one(_GET, (job_id,))
    return None if row is None else _record(row)


def by_ids(reader: Reader, ids: Iterable[int]) -> list[JobRecord]:
    """The jobs with these ids that exist, in order of id."""
    found: list[JobRecord] = []
    for marks, chunk in chunks(sorted(ids)):
        sql = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 - marks only
        found += [_record(row) for row in reader.all(sql, chunk)]
    return found


def chunks(ids: Sequence[K]) -> Iterable[tuple[str, Sequence[K]]]:
    """Question marks and ids, few enough for one statement."""
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        yield ",".join("?" * len(chunk)), chunk


def pending(reader: Reader) -> list[JobRecord]:
    """Every job that is held, waiting or queued, oldest first."""
    sql = (
        f"SELECT {JOB_COLUMNS} FROM jobs "  # noqa: S608 - names of our own columns
        "WHERE state IN ('held', 'waiting', 'queued') ORDER BY id"
    )
    return [_record(row) for row in reader.all(sql)]


def page(
    reader: Reader,
    *,
    states: Sequence[str] = (),
    user: str | None = None,
    labels: Sequence[tuple[str, str]] = (),
    text: str | None = None,
    below: int | None = None,
    limit: int,
) -> list[JobRecord]:
    """
    The newest jobs with ids under `below` that match everything given, newest first. `text` is
    a part of the name, of the command or script, or the id.
    """
    if len(states) > 1 and not user and not labels and text is None:
        # Each state's index gives its newest; the planner would sort all of them instead.
        found = [
            job
            for state in states
            for job in page(reader, states=[state], below=below, limit=limit)
        ]
        return sorted(found, key=lambda job: -job.id)[:limit]
    if not labels:
        where, values = _conditions(states, user, labels, below, text)
        sql = f"SELECT {JOB_COLUMNS} FROM jobs j {where} ORDER BY j.id DESC LIMIT ?"  # noqa: S608 - fixed pieces
        return [_record(row) for row in reader.all(sql, [*values, limit])]
    # Down the first label's index: neither a rare nor a frequent one reads all jobs.
    where, values = _conditions(states, user, labels[1:], None, text)
    sql = (
        f"SELECT {_J_COLUMNS} FROM labels l CROSS JOIN jobs j ON j.id = l.job_id "  # noqa: S608 - as above
        f"WHERE l.key = ? AND l.value = ? AND l.job_id < ? {where.replace('WHERE', 'AND', 1)} "
        "ORDER BY l.job_id DESC LIMIT ?"
    )
    start = [*labels[0], _ABOVE_ALL if below is None else below]
    return [_record(row) for row in reader.all(sql, [*start, *values, limit])]


def counts(
    reader: Reader, *, user: str | None = None, labels: Sequence[tuple[str, str]] = ()
) -> dict[str, int]:
    """Count the matching jobs by state; states without any are left out."""
    where, values = _conditions((), user, labels, None)
    sql = f"SELECT j.state, count(*) FROM jobs j {where} GROUP BY j.state"  # noqa: S608 - fixed pieces
    return dict(reader.all(sql, values))  # pyright: ignore[reportArgumentType] - rows are pairs


def _conditions(
    states: Sequence[str],
    user: str | None,
    labels: Sequence[tuple[str, str]],
    below: int | None,
    text: str | None = None,
) -> tuple[str, list[object]]:
    terms: list[str] = []
    values: list[object] = []
    if states:
        terms.append(f"j.state IN ({','.join('?' * len(states))})")
        values += states
    if user is not None:
        terms.append("j.user = ?")
        values.append(user)
    for key, value in labels:
        terms.append(
            "EXISTS (SELECT 1 FROM labels x WHERE x.job_id = j.id AND x.key = ? AND x.value = ?)"
        )
        values += [key, value]
    if text is not None:
        # LIKE folds case as it goes; lower() makes a copy of every command first.
        terms.append("(j.name LIKE ? ESCAPE '!' OR j.command_text LIKE ? ESCAPE '!' OR j.id = ?)")
        part = "%" + _WILD.sub(r"!\g<0>", text) + "%"
        values += [part, part, text.removeprefix("#")]
    if below is not None:
        terms.append("j.id < ?")
        values.append(below)
    return ("WHERE " + " AND ".join(terms) if terms else ""), values


def insert_labels(tx: Transaction, rows: Sequence[tuple[int, str, str]]) -> None:
    """Write the labels of new jobs: job, key, value."""
    tx.many("INSERT INTO labels (job_id, key, value) VALUES (?, ?, ?)", rows)


def insert_dependencies(tx: Transaction, rows: Sequence[tuple[int, int]]) -> None:
    """Write what new jobs wait for: job, the job it depends on."""
    tx.many("INSERT INTO dependencies (job_id, depends_on) VALUES (?, ?)", rows)


def dependencies(reader: Reader, ids: Sequence[int]) -> dict[int, list[tuple[int, str, str]]]:
    """For each of these jobs that has any: id, state and name of what it depends on."""
    found: dict[int, list[tuple[int, str, str]]] = {}
    for marks, chunk in chunks(ids):
        sql = (
            "SELECT d.job_id, j.id, j.state, j.name FROM dependencies d "  # noqa: S608 - marks only
            f"JOIN jobs j ON j.id = d.depends_on WHERE d.job_id IN ({marks}) "
            "ORDER BY d.job_id, j.id"
        )
        for job_id, other, state, name in reader.all(sql, chunk):
            found.setdefault(job_id, []).append((other, state, name))
    return found


def pending_dependents(reader: Reader, job_id: int) -> list[int]:
    """Ids of the pending jobs that depend on this one."""
    sql = (
        "SELECT d.job_id FROM dependencies d JOIN jobs j ON j.id = d.job_id "
        "WHERE d.depends_on = ? AND j.state IN ('held', 'waiting', 'queued') ORDER BY d.job_id"
    )
    return [row[0] for row in reader.all(sql, (job_id,))]


def change(tx: Transaction, job_id: int, values: Mapping[str, object]) -> None:
    """Set columns of a job; its state has a setter of its own, its spec `spec_columns`."""
    assert "state" not in values
    assignments = ", ".join(f"{name} = ?" for name in values)
    tx.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*values.values(), job_id))  # noqa: S608 - names of our own columns
    tx.touched.add(job_id)


@dataclass(slots=True, frozen=True)
class LabelValue:
    """One value of a label and the jobs that have it."""

    value: str
    jobs: int
    unfinished: int
    newest: int
    users: str
    """Separated by line ends."""


def label_values(reader: Reader, key: str, limit: int) -> list[LabelValue]:
    """The values of a label, those with the newest jobs first."""
    sql = (
        "SELECT l.value, count(*), sum(j.ended_at IS NULL), max(j.id), "
        "replace(group_concat(DISTINCT j.user), ',', char(10)) "
        "FROM labels l JOIN jobs j ON j.id = l.job_id WHERE l.key = ? "
        "GROUP BY l.value ORDER BY max(j.id) DESC LIMIT ?"
    )
    return [LabelValue(*row) for row in reader.all(sql, (key, limit))]


def has_user(reader: Reader, user: str) -> bool:
    """Return True if a user ever submitted a job."""
    return reader.value('SELECT 1 FROM jobs WHERE "user" = ? LIMIT 1', (user,)) is not None


def per_user(reader: Reader) -> list[tuple[str, int, int]]:
    """Every user with how many jobs are active and how many are pending."""
    sql = (
        "SELECT user, sum(state IN ('starting', 'running', 'stopping')), "
        "sum(state IN ('held', 'waiting', 'queued')) FROM jobs GROUP BY user"
    )
    return reader.all(sql)  # pyright: ignore[reportReturnType] - rows are such tuples
