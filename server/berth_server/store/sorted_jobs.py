"""Queries on jobs in another order than their ids'."""

from __future__ import annotations

from dataclasses import dataclass

from berth_server.store import jobs
from berth_server.store.database import Reader
from berth_server.store.jobs import Filter
from berth_server.store.records import JobRecord

_LAST_END = "(SELECT max(a.ended_at) FROM attempts a WHERE a.job_id = j.id)"
_ACTIVE = "j.state IN ('starting', 'running', 'stopping')"
# The order of a job's life, not of the alphabet.
_STATES = (
    *("held", "waiting", "queued", "starting", "running", "stopping"),
    *("succeeded", "failed", "cancelled"),
)
_STATE = " ".join(f"WHEN '{state}' THEN {place}" for place, state in enumerate(_STATES))
COLUMNS = {
    "id": "j.id",
    "name": "j.name COLLATE NOCASE",
    "user": "j.user",
    "state": f"CASE j.state {_STATE} END",
    "outcome": "j.outcome",
    "gpus": "json_extract(j.spec, '$.gpus')",
    "priority": "coalesce(json_extract(j.spec, '$.priority'), 0)",
    "ended": "j.ended_at",
    "ran": f"CASE WHEN {_ACTIVE} THEN :now ELSE coalesce(j.ended_at, {_LAST_END}) END - j.started_at",
    "gpu_hours": (
        "(SELECT sum(u.gpus * (coalesce(a.ended_at, :now) - a.created_at)) FROM gpu_use u "
        "JOIN attempts a ON a.job_id = u.job_id AND a.number = u.number WHERE u.job_id = j.id)"
    ),
    "energy": "(SELECT sum(u.energy_j) FROM gpu_use u WHERE u.job_id = j.id)",
    "idle": (
        "(SELECT sum(u.idle_gpu_s) / nullif(sum(u.seen_gpu_s), 0) FROM gpu_use u "
        "WHERE u.job_id = j.id)"
    ),
}
"""By name of the order: the expression that jobs are sorted by."""


@dataclass(slots=True, frozen=True)
class Order:
    """Order of a list."""

    column: str
    """One of `COLUMNS`."""
    descending: bool


def sorted_page(
    reader: Reader,
    wanted: Filter,
    *,
    order: Order,
    now: float,
    offset: int,
    limit: int,
    most_bytes: int,
) -> tuple[list[JobRecord], bool]:
    """
    Jobs of a list in an order, those without a value last, and whether there are more.

    The page ends early where specifications exceed `most_bytes`.
    """
    where, values = jobs.conditions(wanted)
    by = COLUMNS[order.column]
    way = "DESC" if order.descending else "ASC"
    named = {f"v{i}": value for i, value in enumerate(values)}
    for name in named:
        where = where.replace("?", f":{name}", 1)
    ids = [
        row[0]
        for row in reader.execute(
            f"SELECT j.id, {by} AS key FROM jobs j {where} "  # noqa: S608 - fixed pieces
            f"ORDER BY key IS NULL, key {way}, j.id DESC LIMIT :limit OFFSET :offset",
            {**named, "now": now, "limit": limit + 1, "offset": offset},
        )
    ]
    found = jobs.first_of(reader, ids[:limit], most_bytes)
    return found, len(ids) > len(found)
