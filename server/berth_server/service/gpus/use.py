"""Meter of what attempts use of their GPUs, fed by every look of the worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from berth.protocol.gpus import BoxSnapshot, GpuSnapshot
from berth.protocol.progress import GpuUsage
from berth_server.core.gpu_share import share_fraction
from berth_server.core.model import LeaseView
from berth_server.service.gpus.idle import IDLE_PERCENT
from berth_server.service.gpus.shares import used_bytes
from berth_server.service.scheduling.cache import SchedulerCache
from berth_server.store import gpu_use
from berth_server.store.database import Reader, Transaction
from berth_server.store.gpu_use import AttemptKey, GpuUse
from berth_server.store.records import AttemptRecord

_LONGEST_S = 10.0
"""Longest time between two looks for which the later one stands."""
_J_PER_KWH = 3.6e6


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Price of GPU time here; None where nobody said."""

    per_gpu_hour: float | None = None
    per_kwh: float | None = None
    co2_g_per_kwh: float | None = None
    currency: str = ""


class UseMeter:
    """Use of each attempt that holds GPUs; lost seconds of a restart are not made up."""

    def __init__(self, reader: Reader) -> None:
        self._uses = gpu_use.unreleased(reader)
        self._taken_at: float | None = None

    def take(self, snapshot: BoxSnapshot, cache: SchedulerCache) -> None:
        """Count the time since the last look."""
        now = snapshot.taken_at.timestamp()
        before, self._taken_at = self._taken_at, now
        if before is None or not 0 < now - before <= _LONGEST_S:
            return
        for gpu in snapshot.gpus:
            for lease in cache.holders(gpu.uuid):
                job_id, _, number = lease.attempt.partition(".")
                record = cache.alive.get((int(job_id), int(number)))
                if record is None or record.state == "ended":
                    continue
                span_s = now - max(before, record.created_at)
                if span_s > 0:
                    self._add(cache, record, gpu, lease, span_s)

    def keep(self, tx: Transaction, keys: Iterable[AttemptKey] | None = None) -> None:
        """Write what these attempts used so far; all that are metered without `keys`."""
        wanted = self._uses if keys is None else [key for key in keys if key in self._uses]
        gpu_use.write(tx, [self._uses[key] for key in wanted])

    def forget(self, alive: Mapping[AttemptKey, AttemptRecord]) -> None:
        """Drop what is kept and no longer grows."""
        for key in [key for key in self._uses if key not in alive]:
            del self._uses[key]

    @property
    def current(self) -> Mapping[AttemptKey, GpuUse]:
        """By attempt; what the database has may be a minute old."""
        return self._uses

    def _add(
        self,
        cache: SchedulerCache,
        record: AttemptRecord,
        gpu: GpuSnapshot,
        lease: LeaseView,
        span_s: float,
    ) -> None:
        key = (record.job_id, record.number)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = GpuUse(*key, gpus=cache.running[key].counted_gpus)
        gpu_s = span_s * share_fraction(lease.memory_bytes, gpu.memory_total_bytes)
        if gpu.utilization_percent is not None:
            use.seen_gpu_s += gpu_s
            use.busy_gpu_s += gpu_s * gpu.utilization_percent / 100
            use.idle_gpu_s += gpu_s if gpu.utilization_percent < IDLE_PERCENT else 0.0
        if gpu.power_w is not None:
            use.energy_j = (use.energy_j or 0.0) + gpu.power_w * gpu_s
        held = used_bytes(gpu, record.id)
        if held is not None:
            use.peak_memory_bytes = max(held, use.peak_memory_bytes or 0)


def show(uses: Sequence[tuple[GpuUse, float]], rates: Rates) -> GpuUsage | None:
    """Return the use of attempts together, each with its seconds on its GPUs; None for none."""
    if not uses:
        return None
    held_gpu_s = sum(use.gpus * held_s for use, held_s in uses)
    seen = sum(use.seen_gpu_s for use, _ in uses)
    energies = [use.energy_j for use, _ in uses if use.energy_j is not None]
    peaks = [use.peak_memory_bytes for use, _ in uses if use.peak_memory_bytes is not None]
    kwh = sum(energies) / _J_PER_KWH if energies else None
    return GpuUsage.model_construct(
        gpu_hours=round(held_gpu_s / 3600, 6),
        seen_fraction=round(min(1.0, seen / held_gpu_s), 4) if held_gpu_s else 0.0,
        utilization_percent=round(100 * sum(u.busy_gpu_s for u, _ in uses) / seen, 1)
        if seen
        else None,
        idle_percent=round(100 * sum(u.idle_gpu_s for u, _ in uses) / seen, 1) if seen else None,
        peak_memory_bytes=max(peaks, default=None),
        energy_kwh=None if kwh is None else round(kwh, 6),
        cost=cost(held_gpu_s / 3600, kwh, rates),
        currency=rates.currency,
        co2_g=None
        if kwh is None or rates.co2_g_per_kwh is None
        else round(kwh * rates.co2_g_per_kwh, 3),
    )


def cost(gpu_hours: float, kwh: float | None, rates: Rates) -> float | None:
    """Return the price of GPU-hours and energy; None where no rate is set, or the energy is unknown."""
    if rates.per_gpu_hour is None and rates.per_kwh is None:
        return None
    if rates.per_kwh is not None and kwh is None:
        return None
    return round(gpu_hours * (rates.per_gpu_hour or 0.0) + (kwh or 0.0) * (rates.per_kwh or 0.0), 4)
