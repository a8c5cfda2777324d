"""Curves of one attempt as columns, read on as its files grow."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import groupby
from math import inf, isfinite, isnan, nan
from typing import Any, Literal, cast

from pydantic_core import from_json

from berth import jobfiles
from berth.protocol.metrics import MetricPoint
from berth_server.service.logs.metrics import (
    METRICS_NAME,
    clean_name,
    json_point,
    point_of,
    printed_points,
)
from berth_server.service.logs.run_files import LOG_NAME
from berth_server.service.logs.tail import TailReader

Source = Literal["metrics.jsonl", "log", "none"]
# Of a longer file the last part is read: what a run does now matters most.
READ_LIMIT = 32 << 20
MOST_NAMES = 500
# What is parsed at once keeps every other thread waiting.
_AT_ONCE = 500
_BESIDE = ("step", "time")
_NUMBERS = frozenset({int, float})


class Column:
    """One metric: its values, each with the number of the point that had it."""

    def __init__(self) -> None:
        self.rows = array("I")
        self.values = array("d")
        """NaN for what was not finite."""
        self.least = inf
        self.greatest = -inf
        self._looked_at = 0

    def range(self) -> tuple[float, float]:
        """Return the least and the greatest value; infinities while there is none."""
        fresh = self.values[self._looked_at :]
        self._looked_at = len(self.values)
        if not isfinite(sum(fresh)):
            fresh = array("d", [value for value in fresh if isfinite(value)])
        if fresh:
            low, high = min(fresh), max(fresh)
            self.least, self.greatest = min(self.least, low), max(self.greatest, high)
        return self.least, self.greatest

    def cut(self, row: int) -> None:
        """Drop what belongs to points from number `row` on."""
        place = bisect_left(self.rows, row)
        del self.rows[place:], self.values[place:]
        self.least, self.greatest, self._looked_at = inf, -inf, 0


class Columns:
    """
    All metrics of one attempt by point.

    A point whose step was passed already (the run resumed from a checkpoint) takes the place of
    everything from that step on, and `cuts` counts it.
    """

    def __init__(self) -> None:
        self.steps = array("d")
        """Of each point; where none was written the last one before, or the point's number."""
        self.times = array("d")
        """Unix seconds; NaN where none was written."""
        self.columns: dict[str, Column] = {}
        self.cuts = 0
        self._stepped = False

    @property
    def values(self) -> int:
        """Number of values in all."""
        return sum(len(column.values) for column in self.columns.values())

    def add_lines(self, lines: bytes) -> bool:
        """Add the points of whole lines of `metrics.jsonl`; return whether there were any."""
        before = len(self.steps), self.cuts
        pieces = [line for line in lines.splitlines() if line.strip()]
        for first in range(0, len(pieces), _AT_ONCE):
            some = pieces[first : first + _AT_ONCE]
            found = _objects(some)
            if found is None:
                # Nonsense among them: each line by itself.
                self.add_points(p for line in some if (p := json_point(line)) is not None)
                continue
            for names, group in groupby(found, key=tuple):
                rows = list(group)
                if not self._add_alike(names, rows):
                    self.add_points(p for row in rows if (p := point_of(row)) is not None)
        return (len(self.steps), self.cuts) != before

    def add_points(self, points: Iterable[MetricPoint]) -> None:
        """Add points one by one."""
        for point in points:
            step = point.get("step")
            if step is not None and self.steps and step < self.steps[-1]:
                self._cut(step)
            self._add_axes([self._place(step, 0)], [_number(point.get("time"))])
            self._stepped = self._stepped or step is not None
            row = len(self.steps) - 1
            for name, value in point.items():
                column = self._column(name)
                if column is not None:
                    column.rows.append(row)
                    column.values.append(_number(value))

    def _add_alike(self, names: tuple[str, ...], rows: list[dict[str, Any]]) -> bool:
        """Add points that all have the same names and plain numbers; False for others."""
        if not names:
            return False
        made = _numeric(names, rows)
        if made is None:
            return False
        steps = made.get("step")
        if steps is None:
            axis = [self._place(None, i) for i in range(len(rows))]
        elif any(isnan(step) for step in steps):
            return False
        else:
            last = self.steps[-1] if self.steps else -inf
            if steps[0] < last or list(steps) != sorted(steps):
                return False
            self._stepped = True
            axis = steps
        times = made.get("time")
        first = len(self.steps)
        self._add_axes(axis, times if times is not None else [nan] * len(rows))
        for name, numbers in made.items():
            column = self._column(name)
            if column is not None:
                column.rows.extend(range(first, first + len(rows)))
                column.values.extend(numbers)
        return True

    def _place(self, step: float | None, ahead: int) -> float:
        if step is not None:
            return step
        if self._stepped and self.steps:
            return self.steps[-1]
        return float(len(self.steps) + ahead)

    def _add_axes(self, steps: Iterable[float], times: Iterable[float]) -> None:
        self.steps.extend(steps)
        self.times.extend(times)

    def _column(self, name: str) -> Column | None:
        column = self.columns.get(name)
        if column is None and name not in _BESIDE and len(self.columns) < MOST_NAMES:
            column = self.columns[name] = Column()
        return None if name in _BESIDE else column

    def _cut(self, step: float) -> None:
        """Drop every point from `step` on."""
        row = bisect_left(self.steps, step)
        del self.steps[row:], self.times[row:]
        for column in self.columns.values():
            column.cut(row)
        self.cuts += 1


class AttemptCurves:
    """Positions in the files of one attempt, and its columns so far."""

    def __init__(self, run_dir: str, uid: int, most_bytes: int = READ_LIMIT) -> None:
        """Of a file with more new bytes than `most_bytes` only the last are read."""
        self.columns = Columns()
        self.source: Source = "none"
        self.read_all = True
        """False where the first part of a long file was left out."""
        self._run_dir = run_dir
        self._uid = uid
        self._most_bytes = most_bytes
        self._metrics = TailReader(most_bytes)
        self._log = TailReader(most_bytes)

    def read(self, *, ended: bool) -> None:
        """Read on; `ended`: nothing more comes, so the last line is whole. Raises Forbidden."""
        if self._take(self._metrics, METRICS_NAME, self._add_metrics, ended=ended):
            self.source = "metrics.jsonl"
        if self.source != "metrics.jsonl" and self._take(
            self._log, LOG_NAME, self._add_printed, ended=ended
        ):
            self.source = "log"

    def _take(
        self, tail: TailReader, name: str, add: Callable[[bytes], bool], *, ended: bool
    ) -> bool:
        before, restarts = tail.offset, tail.restarts
        lines = tail.lines(self._run_dir, name, self._uid)
        if tail.restarts != restarts:
            # Another file lies in its place.
            self.columns, self.source, before = Columns(), "none", 0
        self.read_all = self.read_all and tail.offset - before <= self._most_bytes
        if ended and tail.rest:
            lines, tail.rest = lines + tail.rest, b""
        return bool(lines) and add(lines)

    def _add_metrics(self, lines: bytes) -> bool:
        if self.source == "log":
            fresh = Columns()
            if not fresh.add_lines(lines):
                return False
            self.columns = fresh
            return True
        return self.columns.add_lines(lines)

    def _add_printed(self, lines: bytes) -> bool:
        points = printed_points(lines)
        self.columns.add_points(points)
        return bool(points)


def _objects(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """Return the JSON object of each line; None where one is anything else."""
    if max(map(len, lines)) > jobfiles.JSON_BYTES:
        return None
    try:
        found = cast("list[object]", from_json(b"[" + b",".join(lines) + b"]"))
    except ValueError:
        return None
    alike = len(found) == len(lines) and all(type(one) is dict for one in found)
    return cast("list[dict[str, Any]]", found) if alike else None


def _numeric(names: tuple[str, ...], rows: list[dict[str, Any]]) -> dict[str, array[float]] | None:
    """Return the columns of rows with the same names, NaN for gaps; None for odd values."""
    made: dict[str, array[float]] = {}
    for name, column in zip(names, zip(*[row.values() for row in rows], strict=True), strict=True):
        if not _NUMBERS.issuperset(map(type, column)):
            return None
        try:
            numbers = array("d", column)
        except OverflowError:
            return None
        if not isfinite(sum(numbers)):
            numbers = array("d", [n if isfinite(n) else nan for n in numbers])
        made[clean_name(name)] = numbers
    return made


def _number(value: float | None) -> float:
    return nan if value is None else value
