"""Caps of an ablation and the GPU time that its jobs have used together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_server.core.model import AblationView
from berth_server.store import ablations
from berth_server.store.database import Transaction
from berth_server.store.records import AblationRecord, AttemptRecord

if TYPE_CHECKING:
    from berth_server.service.scheduling.cache import SchedulerCache


def ablation_views(cache: SchedulerCache, now: float) -> dict[str, AblationView]:
    """The caps of the ablations that pending jobs belong to, by id."""
    return {
        record.id: AblationView(
            max_running=record.max_running,
            budget_gpu_s=None if record.max_gpu_hours is None else record.max_gpu_hours * 3600.0,
            used_gpu_s=used_gpu_s(cache, record, now),
        )
        for record in cache.ablations.values()
        if record.max_running is not None or record.max_gpu_hours is not None
    }


def used_gpu_s(cache: SchedulerCache, record: AblationRecord, now: float) -> float:
    """GPU-seconds of all its attempts so far, those that hold GPUs now included."""
    return record.used_gpu_s + sum(
        _held_gpu_s(cache, cache.alive[key], now)
        for key, run in cache.running.items()
        if run.ablation == record.id
    )


def gave_back(tx: Transaction, cache: SchedulerCache, record: AttemptRecord) -> None:
    """An attempt is released in this transaction: its ablation has had that much more."""
    run = cache.running[record.job_id, record.number]
    if run.ablation is not None:
        ablations.use(tx, run.ablation, _held_gpu_s(cache, record, tx.now))


def _held_gpu_s(cache: SchedulerCache, record: AttemptRecord, now: float) -> float:
    held_s = max(0.0, now - record.created_at)
    return held_s * cache.running[record.job_id, record.number].counted_gpus
