"""Report of a month: what each user, group or label used of the GPUs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from berth.protocol.message import Message, quoted
from berth.protocol.server import UsageReport, UsageRow
from berth_server.service.errors import Invalid
from berth_server.service.gpus.use import cost
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.store import gpu_use
from berth_server.store.gpu_use import UsedSpan

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_J_PER_KWH = 3.6e6


def usage_report(server: ServerState, month: str | None, by: str) -> UsageReport:
    """
    Add up a calendar month of the policy's time zone (default: the present one).

    An attempt that reaches over its ends counts with the part of its time within. Raises Invalid.
    """
    begin, end = _month(server, month)
    key_of = _key(server, by)
    now = server.clock()
    sums: defaultdict[str, _Sum] = defaultdict(_Sum)
    for span in gpu_use.spans(server.db.read, begin.timestamp(), end.timestamp()):
        last = now if span.end is None else span.end
        within = min(last, end.timestamp()) - max(span.begin, begin.timestamp())
        if within > 0 and last > span.begin:
            use = server.use.current.get((span.job_id, span.use.number), span.use)
            sums[key_of(span)].add(span.job_id, use, within, within / (last - span.begin))
    rates = server.options.rates
    rows = [
        UsageRow.model_construct(
            key=key,
            jobs=len(total.jobs),
            gpu_hours=round(total.held_gpu_s / 3600, 3),
            idle_gpu_hours=round(total.idle_gpu_s / 3600, 3) if total.seen_gpu_s else None,
            utilization_percent=round(100 * total.busy_gpu_s / total.seen_gpu_s, 1)
            if total.seen_gpu_s
            else None,
            energy_kwh=None if total.energy_j is None else round(total.energy_j / _J_PER_KWH, 4),
            cost=cost(total.held_gpu_s / 3600, (total.energy_j or 0.0) / _J_PER_KWH, rates),
            co2_kg=None
            if rates.co2_g_per_kwh is None or total.energy_j is None
            else round(total.energy_j / _J_PER_KWH * rates.co2_g_per_kwh / 1000, 4),
        )
        for key, total in sums.items()
    ]
    rows.sort(key=lambda row: (-row.gpu_hours, row.key))
    return UsageReport(begins_at=begin, ends_at=end, by=by, currency=rates.currency, rows=rows)


class _Sum:
    def __init__(self) -> None:
        self.jobs: set[int] = set()
        self.held_gpu_s = self.seen_gpu_s = self.busy_gpu_s = self.idle_gpu_s = 0.0
        self.energy_j: float | None = None

    def add(self, job_id: int, use: gpu_use.GpuUse, held_s: float, part: float) -> None:
        """Count an attempt with the part of its time that lies within."""
        self.jobs.add(job_id)
        self.held_gpu_s += use.gpus * held_s
        self.seen_gpu_s += use.seen_gpu_s * part
        self.busy_gpu_s += use.busy_gpu_s * part
        self.idle_gpu_s += use.idle_gpu_s * part
        if use.energy_j is not None:
            self.energy_j = (self.energy_j or 0.0) + use.energy_j * part


def _month(server: ServerState, month: str | None) -> tuple[datetime, datetime]:
    local = moment(server.clock()).astimezone(server.options.policy.zone)
    year, number = local.year, local.month
    if month is not None:
        found = _MONTH.fullmatch(month)
        if found is None:
            raise Invalid(f"{month!r} is not a month; write it like 2026-11.", "month")
        year, number = int(found[1]), int(found[2])
        if year < 1970:
            raise Invalid(f"{month!r} is before any job; write it like 2026-11.", "month")
    begin = datetime(year, number, 1, tzinfo=local.tzinfo)
    later = begin + timedelta(days=32)
    return begin, datetime(later.year, later.month, 1, tzinfo=local.tzinfo)


def _key(server: ServerState, by: str) -> Callable[[UsedSpan], str]:
    if by == "user":
        return lambda span: span.user
    if by == "group":
        return lambda span: server.groups.of(span.user) or "(no group)"
    kind, colon, label = by.partition(":")
    if kind == "label" and colon and label:
        values = gpu_use.label_values(server.db.read, label)
        return lambda span: values.get(span.job_id, "(none)")
    raise Invalid(Message.of(quoted("by"), f" is {by!r}; write user, group or label:KEY."), "by")
