"""Queries on ablations: sets of jobs made together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from operator import attrgetter

from berth_server.store.database import Reader, Transaction
from berth_server.store.jobs import chunks
from berth_server.store.records import ABLATION_COLUMNS, AblationRecord

_NAMES = [f.name for f in fields(AblationRecord)]
_values = attrgetter(*_NAMES)
_INSERT = f"INSERT INTO ablations ({ABLATION_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608 - names of our own columns


def insert(tx: Transaction, record: AblationRecord) -> None:
    """Write a new ablation."""
    tx.execute(_INSERT, _values(record))


def get(reader: Reader, ablation_id: str) -> AblationRecord | None:
    """One ablation."""
    return next(iter(by_ids(reader, [ablation_id])), None)


def by_ids(reader: Reader, ids: Iterable[str]) -> list[AblationRecord]:
    """The ablations with these ids that exist, in order of id."""
    found: list[AblationRecord] = []
    for marks, chunk in chunks(sorted(ids)):
        sql = f"SELECT {ABLATION_COLUMNS} FROM ablations WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 - marks only
        found += [AblationRecord(*row) for row in reader.all(sql, chunk)]
    return found


def change(tx: Transaction, ablation_id: str, values: Mapping[str, object]) -> None:
    """Set columns of an ablation."""
    assignments = ", ".join(f"{name} = ?" for name in values)
    tx.execute(
        f"UPDATE ablations SET {assignments} WHERE id = ?",  # noqa: S608 - names of our own columns
        (*values.values(), ablation_id),
    )


def use(tx: Transaction, ablation_id: str, gpu_s: float) -> None:
    """Count GPU-seconds of an attempt that is released."""
    tx.execute(
        "UPDATE ablations SET used_gpu_s = used_gpu_s + ? WHERE id = ?", (gpu_s, ablation_id)
    )


def pending(reader: Reader, ablation_id: str) -> list[int]:
    """Ids of its jobs that have not started, oldest first."""
    sql = (
        "SELECT id FROM jobs WHERE ablation = ? AND state IN ('held', 'waiting', 'queued') "
        "ORDER BY id"
    )
    return [row[0] for row in reader.all(sql, (ablation_id,))]


def with_rules(reader: Reader) -> list[AblationRecord]:
    """Those with an early-stop rule of which a job has not ended."""
    sql = (
        f"SELECT {ABLATION_COLUMNS} FROM ablations a WHERE early_stop IS NOT NULL AND EXISTS "  # noqa: S608 - names of our own columns
        "(SELECT 1 FROM jobs j WHERE j.ablation = a.id AND j.ended_at IS NULL)"
    )
    return [AblationRecord(*row) for row in reader.all(sql)]
