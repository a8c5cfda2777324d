"""Curves of runs for the dashboard: read once, then only what is new, and thinned to extremes."""

from __future__ import annotations

import secrets
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from math import isfinite

from berth.better import more_is_better
from berth.protocol.metrics import Curve, CurveTrouble, RunCurves
from berth_server.core.curve_health import trouble
from berth_server.service.logs.buckets import extremes_of
from berth_server.service.logs.columns import AttemptCurves, Columns
from berth_server.store.records import AttemptRecord

# Of all runs that are kept in memory together; a value takes twelve bytes.
_MOST_VALUES = 6_000_000
_MOST_RUNS = 600
_MOST_NUMBERS = 200_000
_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The part of the curves that is asked for."""

    points: int
    """At most so many of each metric."""
    names: Collection[str] | None = None
    """These metrics only; None is all."""
    first: float | None = None
    """From this step on, or this time."""
    last: float | None = None
    """To this one."""
    by_time: bool = False
    """The range is in unix seconds, and times come with the steps."""
    after: str | None = None
    """Points that came after an earlier answer."""


@dataclass
class _Kept:
    curves: AttemptCurves
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    lock: threading.Lock = field(default_factory=threading.Lock)


class CurveReader:
    """Curves of the runs asked for recently; for any number of threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, job_id: int, record: AttemptRecord | None, uid: int, want: Wanted) -> RunCurves:
        """Return the curves of an attempt. Reads files; run it on a thread. Raises Forbidden."""
        if record is None:
            return RunCurves(job_id=job_id, source="none", names=[], curves={}, total=0, after="")
        kept = self._slot(record.run_dir, uid)
        with kept.lock:
            kept.curves.read(ended=record.state == "ended")
            shown = _shown(job_id, record.id, kept, want)
        self._forget()
        return shown

    def ends(self, record: AttemptRecord, uid: int) -> tuple[dict[str, Curve], float | None]:
        """Return last and best value and trouble of each metric, and the last step."""
        kept = self._slot(record.run_dir, uid)
        with kept.lock:
            kept.curves.read(ended=record.state == "ended")
            columns = kept.curves.columns
            found = {name: _curve(columns, name, [], by_time=False) for name in columns.columns}
            step = columns.steps[-1] if columns.steps else None
        self._forget()
        return found, step

    def _slot(self, run_dir: str, uid: int) -> _Kept:
        with self._lock:
            kept = self._kept.pop(run_dir, None) or _Kept(AttemptCurves(run_dir, uid))
            self._kept[run_dir] = kept
            return kept

    def _forget(self) -> None:
        """Drop the runs that were not asked for for the longest while, beyond what may be kept."""
        with self._lock:
            room = _MOST_VALUES
            for place, (run_dir, kept) in enumerate(reversed(list(self._kept.items()))):
                room -= kept.curves.columns.values
                if place and (room < 0 or place >= _MOST_RUNS):
                    del self._kept[run_dir]


def _shown(job_id: int, attempt: str, kept: _Kept, want: Wanted) -> RunCurves:
    columns = kept.curves.columns
    names = sorted(columns.columns)
    asked = names if want.names is None else [n for n in names if n in want.names]
    most = max(2, min(want.points, _MOST_NUMBERS // max(1, len(asked))))
    version = f"{kept.token}.{columns.cuts}"
    row = _row_after(want.after, version, len(columns.steps))
    timed = len(columns.times) > 0 and isfinite(sum(columns.times))
    return RunCurves.model_construct(
        job_id=job_id,
        attempt=attempt,
        source=kept.curves.source,
        names=names,
        curves={
            name: _curve(
                columns, name, _places(columns, name, row, want, most), by_time=want.by_time
            )
            for name in asked
        },
        total=len(columns.steps),
        timed=timed,
        read_all=kept.curves.read_all,
        after=f"{version}.{len(columns.steps)}",
        whole=row == 0,
    )


def _row_after(after: str | None, version: str, rows: int) -> int:
    """Return the first point that an earlier answer did not have; 0 where it is outdated."""
    if after is None:
        return 0
    known, _, row = after.rpartition(".")
    if known != version or not row.isdecimal() or int(row) > rows:
        return 0
    return int(row)


def _places(columns: Columns, name: str, row: int, want: Wanted, most: int) -> list[int]:
    """Return the positions of the values of a metric that are sent."""
    column = columns.columns[name]
    begin = bisect_left(column.rows, row) if row else 0
    end = len(column.rows)
    if want.first is not None or want.last is not None:
        axis = columns.times if want.by_time else columns.steps
        low, high = _rows_between(axis, want.first, want.last)
        # A neighbour on each side, so that the lines go on to the edge.
        begin = max(begin, bisect_left(column.rows, low) - 1)
        end = min(end, bisect_left(column.rows, high) + 1)
    return extremes_of(column.values[begin:end], most, begin)


def _rows_between(axis: array[float], first: float | None, last: float | None) -> tuple[int, int]:
    low = 0 if first is None else bisect_left(axis, first)
    high = len(axis) if last is None else bisect_right(axis, last)
    return low, high


def _curve(columns: Columns, name: str, places: list[int], *, by_time: bool) -> Curve:
    column = columns.columns[name]
    rows = [column.rows[i] for i in places]
    least, greatest = column.range()
    best = greatest if more_is_better(name) else least
    wrong = trouble(name, column.values)
    return Curve.model_construct(
        steps=[columns.steps[row] for row in rows],
        times=[_sent(columns.times[row]) for row in rows] if by_time else [],
        values=[_sent(column.values[i]) for i in places],
        total=len(column.values),
        first=next((_sent(value) for value in column.values if isfinite(value)), None),
        last=_sent(column.values[-1]) if column.values else None,
        last_step=columns.steps[column.rows[-1]] if column.rows else None,
        best=best if isfinite(best) else None,
        trouble=None
        if wrong is None
        else CurveTrouble(kind=wrong.kind, step=columns.steps[column.rows[wrong.place]]),
    )


def _sent(value: float) -> float | None:
    """A value in as many digits as charts and tables show."""
    return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
