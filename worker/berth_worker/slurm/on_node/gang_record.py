"""The record of a run over several nodes, made of those of its parts."""

from __future__ import annotations

from berth.protocol.base import utc_now
from berth.protocol.internal import ExitRecord


def succeeded(record: ExitRecord) -> bool:
    """Return whether a node's part ended by itself and without a fault."""
    return record.cause == "exit" and record.exit_code == 0


def combined(attempt: str, decisive: ExitRecord, records: list[ExitRecord]) -> ExitRecord:
    """Return the record of the whole gang: the decisive node's end, and everybody's usage."""
    starts = [one.started_at for one in records if one.started_at is not None]
    return decisive.model_copy(
        update={
            "attempt": attempt,
            "started_at": min(starts, default=None),
            "ended_at": max((one.ended_at for one in records), default=utc_now()),
            "max_rss_bytes": max((one.max_rss_bytes or 0 for one in records), default=0) or None,
            "user_cpu_s": sum(one.user_cpu_s or 0.0 for one in records),
            "system_cpu_s": sum(one.system_cpu_s or 0.0 for one in records),
            "killed": sum(one.killed for one in records),
        }
    )
