"""Utilisation of GPUs while they were leased, by user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from berth_server.core.gpu_share import share_fraction
from berth_server.core.progress.idleness import IDLE_PERCENT
from berth_server.service.gpus.telemetry import COARSE, GpuTelemetry
from berth_server.store.gpus import LeaseSpan


@dataclass(frozen=True, kw_only=True)
class Work:
    """GPU-seconds of one user; a share of a GPU counts as its part of the memory."""

    seen_gpu_s: float = 0.0
    """Held while the GPU was sampled."""
    idle_gpu_s: float = 0.0
    """Of those, below `IDLE_PERCENT`."""
    busy_gpu_s: float = 0.0
    """Of those, each weighted with its utilisation."""


def work_by_user(
    history: GpuTelemetry, spans: Iterable[LeaseSpan], since: float, now: float
) -> dict[str, Work]:
    """
    Add up the steps of the coarse history that lie wholly within each lease. Reads files.

    A lease shorter than two steps may have none: what was not seen is not counted as idle.
    """
    step_s = COARSE.step_s
    # The present step is not over.
    first = -int(-max(since, now - COARSE.reach_s + step_s) // step_s)
    last = int(now) // step_s - 1
    if last < first:
        return {}
    sums: dict[str, _Sums] = {}
    found: defaultdict[str, Work] = defaultdict(Work)
    for span in spans:
        begin = max(first, -int(-span.begin // step_s))
        stop = min(last + 1, int(now if span.end is None else span.end) // step_s)
        if stop <= begin:
            continue
        if span.gpu_uuid not in sums:
            sums[span.gpu_uuid] = _Sums(history.loads(span.gpu_uuid, first, last))
        seen, idle, busy = sums[span.gpu_uuid].between(begin - first, stop - first)
        gpu_s = step_s * share_fraction(span.memory_bytes, span.gpu_bytes)
        had = found[span.user]
        found[span.user] = Work(
            seen_gpu_s=had.seen_gpu_s + seen * gpu_s,
            idle_gpu_s=had.idle_gpu_s + idle * gpu_s,
            busy_gpu_s=had.busy_gpu_s + busy / 100 * gpu_s,
        )
    return dict(found)


class _Sums:
    """Running sums over a GPU's steps, so that every lease costs two look-ups."""

    def __init__(self, loads: list[int | None]) -> None:
        known = [load is not None for load in loads]
        idle = [load is not None and load < IDLE_PERCENT for load in loads]
        self._columns = [
            list(accumulate(column, initial=0))
            for column in (known, idle, [load or 0 for load in loads])
        ]

    def between(self, begin: int, stop: int) -> tuple[int, int, int]:
        """Steps that were seen, those that were idle, and the sum of loads in percent."""
        seen, idle, busy = (column[stop] - column[begin] for column in self._columns)
        return seen, idle, busy
