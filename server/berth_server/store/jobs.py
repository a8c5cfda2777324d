"""Queries on jobs, their dependencies and labels."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import NamedTuple, TypeVar

from berth.protocol.dependencies import DependencyKind
from berth.protocol.specs import JobSpec
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


def insert(
    tx: Transaction, records: Sequence[JobRecord], columns: Sequence[tuple[object, ...]]
) -> None:
    """Write new jobs with the `spec_values` of each; their ids come from `next_id`."""
    tx.many(
        _INSERT,
        [(*_values(one), *values) for one, values in zip(records, columns, strict=True)],
    )


def spec_columns(spec: JobSpec) -> dict[str, object]:
    """The columns that a spec fills: itself as JSON, and what SQL filters by."""
    return dict(zip(_OF_SPEC, spec_values(spec), strict=True))


def spec_values(spec: JobSpec) -> tuple[str, str | None, str, bool]:
    """The values of `spec_columns`, in the order of the insert."""
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


def last_success(reader: Reader, user: str, name: str, before: int) -> JobRecord | None:
    """The newest job of a user with this name that has succeeded, other than one."""
    sql = (
        f"SELECT {JOB_COLUMNS} FROM jobs WHERE user = ? AND name = ? "  # noqa: S608 - as above
        "AND state = 'succeeded' AND id <> ? ORDER BY id DESC LIMIT 1"
    )
    row = reader.one(sql, (user, name, before))
    return None if row is None else _record(row)


def count_failed(reader: Reader, outcome: str, since: float) -> int:
    """Number of jobs that failed with an outcome after a time."""
    sql = "SELECT count(*) FROM jobs WHERE state = 'failed' AND outcome = ? AND ended_at > ?"
    return reader.value(sql, (outcome, since)) or 0


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


def waiting_with_notice(reader: Reader) -> list[JobRecord]:
    """The jobs with webhooks that wait for their start, in order of id."""
    sql = (
        f"SELECT {JOB_COLUMNS} FROM jobs "  # noqa: S608 - names of our own columns
        "WHERE state IN ('waiting', 'queued') AND notifies ORDER BY id"
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
    wanted = Filter(tuple(states), user, tuple(labels), text)
    return bounded_page(reader, wanted, below=below, limit=limit, most_bytes=_ABOVE_ALL)[0]


@dataclass(slots=True, frozen=True)
class Filter:
    """Jobs of a list."""

    states: tuple[str, ...] = ()
    user: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    text: str | None = None


def bounded_page(
    reader: Reader, wanted: Filter, *, below: int | None = None, limit: int, most_bytes: int
) -> tuple[list[JobRecord], bool]:
    """
    The jobs that `page` gives, and whether there are more. The page ends early, but not before
    its first job, where specifications exceed `most_bytes`.
    """
    states, labels = wanted.states, wanted.labels
    if len(states) > 1 and not wanted.user and not labels and wanted.text is None:
        # Each state's index gives its newest; the planner would sort all of them instead.
        found: list[JobRecord] = []
        floor, more = 0, False
        for state in states:
            one, cut = bounded_page(
                reader, Filter((state,)), below=below, limit=limit, most_bytes=most_bytes
            )
            found += one
            more = more or cut
            if cut:
                # Of this state older ones were not read: nothing older than its last is known.
                floor = max(floor, one[-1].id)
        found = sorted((job for job in found if job.id >= floor), key=lambda job: -job.id)
        return found[:limit], more or len(found) > limit
    if not labels:
        where, values = _conditions(states, wanted.user, labels, below, wanted.text)
        sql = f"SELECT {JOB_COLUMNS} FROM jobs j {where} ORDER BY j.id DESC LIMIT ?"  # noqa: S608 - fixed pieces
        return _within(reader.execute(sql, [*values, limit + 1]), limit, most_bytes)
    # Down the first label's index: neither a rare nor a frequent one reads all jobs.
    where, values = _conditions(states, wanted.user, labels[1:], None, wanted.text)
    sql = (
        f"SELECT {_J_COLUMNS} FROM labels l CROSS JOIN jobs j ON j.id = l.job_id "  # noqa: S608 - as above
        f"WHERE l.key = ? AND l.value = ? AND l.job_id < ? {where.replace('WHERE', 'AND', 1)} "
        "ORDER BY l.job_id DESC LIMIT ?"
    )
    start = [*labels[0], _ABOVE_ALL if below is None else below]
    return _within(reader.execute(sql, [*start, *values, limit + 1]), limit, most_bytes)


def first_of(reader: Reader, ids: Sequence[int], most_bytes: int) -> list[JobRecord]:
    """These jobs in this order, until their specifications exceed `most_bytes`."""
    found: list[JobRecord] = []
    size = 0
    for job_id in ids:
        row = reader.one(_GET, (job_id,))
        if row is None:
            continue
        found.append(_record(row))
        size += len(row[1])
        if size > most_bytes:
            break
    return found


def _within(rows: Iterable[Row], limit: int, most_bytes: int) -> tuple[list[JobRecord], bool]:
    found: list[JobRecord] = []
    size = 0
    for row in rows:
        size += len(row[1])
        if len(found) == limit or (found and size > most_bytes):
            return found, True
        found.append(_record(row))
    return found, False


def counts(
    reader: Reader, *, user: str | None = None, labels: Sequence[tuple[str, str]] = ()
) -> dict[str, int]:
    """Count the matching jobs by state; states without any are left out."""
    where, values = _conditions((), user, labels, None)
    sql = f"SELECT j.state, count(*) FROM jobs j {where} GROUP BY j.state"  # noqa: S608 - fixed pieces
    return dict(reader.all(sql, values))  # pyright: ignore[reportArgumentType] - rows are pairs


def conditions(wanted: Filter) -> tuple[str, list[object]]:
    """Return the WHERE clause of a list's jobs (`jobs j`), and its values."""
    return _conditions(wanted.states, wanted.user, wanted.labels, None, wanted.text)


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


class DependencyRecord(NamedTuple):
    """A job that another one depends on."""

    id: int
    state: str
    name: str
    kind: DependencyKind


def insert_dependencies(tx: Transaction, rows: Sequence[tuple[int, int, str]]) -> None:
    """Write what new jobs wait for: job, the job it depends on, how that has to end."""
    tx.many("INSERT INTO dependencies (job_id, depends_on, kind) VALUES (?, ?, ?)", rows)


def dependencies(reader: Reader, ids: Sequence[int]) -> dict[int, list[DependencyRecord]]:
    """For each of these jobs that has any: what it depends on."""
    found: dict[int, list[DependencyRecord]] = {}
    for marks, chunk in chunks(ids):
        sql = (
            "SELECT d.job_id, j.id, j.state, j.name, d.kind FROM dependencies d "  # noqa: S608 - marks only
            f"JOIN jobs j ON j.id = d.depends_on WHERE d.job_id IN ({marks}) "
            "ORDER BY d.job_id, j.id"
        )
        for job_id, other, state, name, kind in reader.all(sql, chunk):
            record = DependencyRecord(other, state, name, DependencyKind(kind))
            found.setdefault(job_id, []).append(record)
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
