"""Queries for the waste report: who held which GPUs, and who waited."""

from __future__ import annotations

from berth_server.core.explain.waste import Hold, Wait
from berth_server.store.database import Reader

_GOOD = {"early_stopped", "cancelled"}
"""Outcomes that a user or a rule chose."""


def holds(reader: Reader, since: float, now: float) -> list[Hold]:
    """Every attempt that held GPUs after a moment."""
    sql = (
        "SELECT a.job_id, a.number, j.name, j.user, a.created_at, a.released_at, a.started_at, "
        "a.ended_at, a.saved_at, a.outcome, a.exit_code, u.gpus, u.peak_memory_bytes, "
        "group_concat(l.gpu_uuid, char(10)), max(l.memory_bytes IS NOT NULL), "
        "min(g.memory_total_bytes) "
        "FROM leases l JOIN attempts a ON a.job_id = l.job_id AND a.number = l.number "
        "JOIN jobs j ON j.id = l.job_id "
        "LEFT JOIN gpu_use u ON u.job_id = l.job_id AND u.number = l.number "
        "LEFT JOIN gpus g ON g.uuid = l.gpu_uuid "
        "WHERE l.released_at IS NULL OR l.released_at > ? GROUP BY l.job_id, l.number"
    )
    found: list[Hold] = []
    for row in reader.all(sql, (since,)):
        uuids = tuple(row[13].split("\n"))
        outcome, code = row[9], row[10]
        bad = outcome is not None and outcome not in _GOOD and not (outcome == "exit" and code == 0)
        found.append(
            Hold(
                job_id=row[0],
                number=row[1],
                name=row[2],
                user=row[3],
                begin=row[4],
                end=now if row[5] is None else row[5],
                started_at=row[6],
                ended_at=row[7],
                saved_at=row[8],
                ended_badly=outcome if bad else None,
                counts=len(uuids) if row[11] is None else row[11],
                peak_memory_bytes=row[12],
                gpu_uuids=uuids,
                share=bool(row[14]),
                gpu_bytes=row[15] or 0,
            )
        )
    return found


def waits(reader: Reader, since: float, now: float) -> list[Wait]:
    """
    Jobs that waited for GPUs alone after a moment, before their first attempt.

    Of those that began with a hold, a start time or a dependency only the present wait is known.
    """
    sql = (
        "SELECT j.id, j.name, j.user, json_extract(j.spec, '$.gpus'), "
        "CASE WHEN j.state = 'queued' THEN coalesce(j.ready_at, j.queued_at) ELSE j.queued_at END, "
        "CASE WHEN j.state = 'queued' THEN NULL "
        "ELSE coalesce(min(a.created_at), j.ended_at) END AS until "
        "FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id "
        "WHERE (j.ended_at IS NULL OR j.ended_at > ?) AND json_extract(j.spec, '$.gpus') > 0 "
        "AND (j.state = 'queued' OR (j.state NOT IN ('held', 'waiting') "
        "AND coalesce(json_extract(j.spec, '$.hold'), 0) = 0 "
        "AND json_extract(j.spec, '$.not_before') IS NULL "
        "AND coalesce(json_array_length(j.spec, '$.depends_on'), 0) = 0)) GROUP BY j.id"
    )
    return [
        Wait(
            job_id=row[0],
            name=row[1],
            user=row[2],
            gpus=row[3],
            begin=row[4],
            end=now if row[5] is None else row[5],
        )
        for row in reader.all(sql, (since,))
    ]
