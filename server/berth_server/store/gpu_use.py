"""Queries on what attempts used of their GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from berth_server.store.database import Reader, Transaction
from berth_server.store.jobs import chunks

AttemptKey = tuple[int, int]
_COLUMNS = (
    "u.job_id, u.number, u.gpus, u.seen_gpu_s, u.busy_gpu_s, u.idle_gpu_s, u.energy_j, "
    "u.peak_memory_bytes"
)


@dataclass(slots=True)
class GpuUse:
    """One row of `gpu_use`; while the attempt runs it grows."""

    job_id: int
    number: int
    gpus: float
    """GPUs that it counts for; a share is its part of one."""
    seen_gpu_s: float = 0.0
    """GPU-seconds in which its GPUs were sampled."""
    busy_gpu_s: float = 0.0
    """Of those, each weighted with its utilisation."""
    idle_gpu_s: float = 0.0
    """Of those, without work."""
    energy_j: float | None = None
    """Energy in those; None where the driver tells no power."""
    peak_memory_bytes: int | None = None
    """Most memory that its processes held on one GPU."""


@dataclass(slots=True, frozen=True)
class UsedSpan:
    """An attempt's hold on GPUs, from when to when, and what it used of them."""

    job_id: int
    user: str
    begin: float
    end: float | None
    use: GpuUse


def write(tx: Transaction, uses: Iterable[GpuUse]) -> None:
    """Keep these, in place of what was kept of the same attempts."""
    tx.many(
        "INSERT INTO gpu_use (job_id, number, gpus, seen_gpu_s, busy_gpu_s, idle_gpu_s, energy_j, "
        "peak_memory_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, number) DO UPDATE "
        "SET seen_gpu_s = excluded.seen_gpu_s, busy_gpu_s = excluded.busy_gpu_s, "
        "idle_gpu_s = excluded.idle_gpu_s, energy_j = excluded.energy_j, "
        "peak_memory_bytes = excluded.peak_memory_bytes",
        [
            (
                *(u.job_id, u.number, u.gpus, u.seen_gpu_s, u.busy_gpu_s, u.idle_gpu_s),
                *(u.energy_j, u.peak_memory_bytes),
            )
            for u in uses
        ],
    )


def of_jobs(reader: Reader, ids: Sequence[int]) -> dict[AttemptKey, GpuUse]:
    """Return the use of the attempts of these jobs, as far as it is kept."""
    found: dict[AttemptKey, GpuUse] = {}
    for marks, chunk in chunks(ids):
        sql = f"SELECT {_COLUMNS} FROM gpu_use u WHERE u.job_id IN ({marks})"  # noqa: S608 - marks only
        for row in reader.all(sql, chunk):
            use = GpuUse(*row)
            found[use.job_id, use.number] = use
    return found


def unreleased(reader: Reader) -> dict[AttemptKey, GpuUse]:
    """Return the use of attempts that still hold their GPUs, as it was last kept."""
    sql = (
        f"SELECT {_COLUMNS} FROM gpu_use u JOIN attempts a "  # noqa: S608 - names of our own columns
        "ON a.job_id = u.job_id AND a.number = u.number WHERE a.released_at IS NULL"
    )
    return {(use.job_id, use.number): use for use in (GpuUse(*row) for row in reader.all(sql))}


def spans(reader: Reader, since: float, until: float) -> list[UsedSpan]:
    """Attempts whose hold on GPUs reaches into a span of time; those kept before it was counted too."""
    sql = (
        f"SELECT j.user, a.created_at, a.released_at, {_COLUMNS} "  # noqa: S608 - as above
        "FROM gpu_use u JOIN attempts a ON a.job_id = u.job_id AND a.number = u.number "
        "JOIN jobs j ON j.id = u.job_id "
        "WHERE a.created_at < ? AND (a.released_at IS NULL OR a.released_at > ?)"
    )
    return [
        UsedSpan(row[3], row[0], row[1], row[2], GpuUse(*row[3:]))
        for row in reader.all(sql, (until, since))
    ]


def label_values(reader: Reader, key: str) -> dict[int, str]:
    """The value of a label by job."""
    return dict(reader.all("SELECT job_id, value FROM labels WHERE key = ?", (key,)))
