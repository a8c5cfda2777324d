"""Time that a run still takes, by the positions that it has been seen at."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from statistics import median

from berth_server.core.progress.stalls import Steps

_MOST_POINTS = 192
_LEAST_POINTS = 3
_PAUSE = 3.0
"""An interval of so many times its usual length holds a pause: evaluation, a checkpoint."""
_PAUSE_S = 1.5
_WARM_UP = 1.5
_JUMP = 4.0
_SETTLED = 1.4
_FEW = 4
_EARLY, _EARLY_S = 0.04, 120.0
_WILD, _BEGINNING = 4.0, 0.1
_COARSE = 0.02
_ALIKE = 1.25
_MANY = 8
_ENOUGH = 0.05
_SILENT_S = 60.0
_END_S = 20.0
_LEAST_SPREAD = 0.1
_TAIL_S = 2.0
_Z90 = 1.2816


@dataclass(frozen=True, slots=True)
class Left:
    """Time left of a run, seconds from the moment that was asked for."""

    p50_s: float
    p90_s: float


@dataclass(frozen=True, slots=True)
class _Interval:
    seconds: float
    part: float
    """Of the run."""
    end: float
    """Fraction of the run at its end."""

    @property
    def whole_s(self) -> float:
        """Seconds that the whole run would take at this pace."""
        return self.seconds / self.part


@dataclass
class Pace:
    """Positions of one run, thinned as they become many."""

    _points: list[tuple[float, float]] = field(default_factory=list)
    _spacing_s: float = 0.0
    _settled: bool = False

    def add(self, at: float, fraction: float) -> None:
        """Take a position; what is no advance is left out."""
        if not 0.0 <= fraction <= 1.0:
            return
        points = self._points
        if points and (fraction <= points[-1][1] or at <= points[-1][0]):
            if fraction > points[-1][1]:
                points[-1] = (points[-1][0], fraction)
            return
        if len(points) > 2 and at - points[-2][0] < self._spacing_s:
            points[-1] = (at, fraction)
            return
        points.append((at, fraction))
        if len(points) > _MOST_POINTS:
            self._spacing_s = 2 * (points[-1][0] - points[0][0]) / _MOST_POINTS
            del points[1:-1:2]

    def left(self, now: float) -> Left | None:
        """Time left; None while too little is known, or since the steps stopped coming."""
        if len(self._points) < _LEAST_POINTS:
            return None
        intervals = self._intervals()
        self._settled = self._settled or _settled(intervals)
        if not self._settled:
            return None
        intervals = _steady(intervals)
        if self.silent(now):
            return None
        at, fraction = self._points[-1]
        silent_s = max(0.0, now - at)
        usual_s = median(one.seconds for one in intervals)
        rest = 1.0 - fraction
        if rest <= 0.0 and silent_s > _END_S:
            return None  # saving, a last evaluation: nothing tells how long
        typical_s = median(one.whole_s for one in intervals)
        pauses = [one for one in intervals if _is_pause(one, typical_s)]
        moving = [one for one in intervals if not _is_pause(one, typical_s)]
        recent = _recent(moving)
        whole_s = sum(one.seconds for one in recent) / sum(one.part for one in recent)
        left_s = whole_s * rest + _pauses_s(pauses, intervals, whole_s, rest)
        spread = _spread(intervals, rest)
        p50_s = max(0.0, left_s - min(silent_s, usual_s))
        return Left(p50_s, p50_s + _Z90 * spread * left_s + _TAIL_S)

    def steps(self) -> Steps | None:
        """Return when the last step came and how long steps take; None before there are several."""
        if len(self._points) <= _LEAST_POINTS:
            return None
        lengths_s = [one.seconds for one in self._intervals()]
        return Steps(self._points[-1][0], median(lengths_s), max(lengths_s))

    def silent(self, now: float) -> bool:
        """True if steps stopped coming: nothing for many times as long as ever before."""
        if not self._points:
            return True
        lengths_s = [one.seconds for one in self._intervals()] or [0.0]
        most_s = max(_SILENT_S, 10 * median(lengths_s), 3 * max(lengths_s))
        return now - self._points[-1][0] > most_s

    def _intervals(self) -> list[_Interval]:
        return [
            _Interval(later[0] - earlier[0], later[1] - earlier[1], later[1])
            for earlier, later in zip(self._points, self._points[1:], strict=False)
        ]


def _settled(intervals: list[_Interval]) -> bool:
    """True if warm-up is over: the pace has stopped changing, or enough was done at any pace."""
    if len(intervals) >= 2 and _coarse(intervals):
        earlier_s, later_s = (one.whole_s for one in intervals[-2:])
        return max(earlier_s, later_s) <= _ALIKE * min(earlier_s, later_s)
    if len(intervals) < _FEW:
        return False
    if intervals[-1].end < _EARLY and sum(one.seconds for one in intervals) < _EARLY_S:
        return False  # slow first steps may all be alike
    if len(intervals) >= _MANY and sum(one.part for one in intervals[1:]) >= _ENOUGH:
        return True
    half = min(len(intervals), _MANY) // 2
    earlier, later = intervals[-2 * half : -half], intervals[-half:]
    each = [one.whole_s for one in earlier + later]
    if max(each) > _WILD * min(each) and intervals[-1].end < _BEGINNING:
        return False
    paces = [sum(i.seconds for i in part) / sum(i.part for i in part) for part in (earlier, later)]
    return max(paces) <= _SETTLED * min(paces)


def _coarse(intervals: list[_Interval]) -> bool:
    """True for epochs and the like, or lines that come seldom: two alike will do."""
    return min(one.part for one in intervals[-2:]) >= _COARSE


def _steady(intervals: list[_Interval]) -> list[_Interval]:
    """Those after warm-up, and after the steps that a resumed run counts as done at its start."""
    if len(intervals) < 3:
        return intervals
    typical_s = median(one.whole_s for one in intervals[(len(intervals) + 1) // 2 :])
    start = 1 if intervals[0].whole_s * _JUMP < typical_s else 0
    latest = len(intervals) - (2 if _coarse(intervals) else 3)
    while start < latest and intervals[start].whole_s > _WARM_UP * typical_s:
        start += 1
    return intervals[start:]


def _is_pause(one: _Interval, typical_s: float) -> bool:
    usual_s = typical_s * one.part
    return one.seconds > _PAUSE * usual_s and one.seconds - usual_s > _PAUSE_S


def _recent(moving: list[_Interval]) -> list[_Interval]:
    """The latest half of what was done."""
    half = sum(one.part for one in moving) / 2
    chosen: list[_Interval] = []
    done = 0.0
    for one in reversed(moving):
        if done >= half and len(chosen) >= 3:
            break
        chosen.append(one)
        done += one.part
    return chosen


def _pauses_s(
    pauses: list[_Interval], intervals: list[_Interval], whole_s: float, rest: float
) -> float:
    """Seconds that the remaining pauses take, if they come as often as so far."""
    if not pauses:
        return 0.0
    each_s = sum(max(0.0, one.seconds - whole_s * one.part) for one in pauses) / len(pauses)
    began = intervals[0].end - intervals[0].part
    period = max(1e-9, (pauses[-1].end - began) / len(pauses))
    return each_s * rest / period


def _spread(intervals: list[_Interval], rest: float) -> float:
    """Standard deviation of what is left, as a part of it."""
    done = sum(one.part for one in intervals)
    count = min(8, len(intervals))
    paces: list[float] = []
    seconds = part = 0.0
    for one in intervals:
        seconds += one.seconds
        part += one.part
        if part >= done / count:
            paces.append(seconds / part)
            seconds = part = 0.0
    if len(paces) < 2:
        return 0.5
    mean = sum(paces) / len(paces)
    deviation = sqrt(sum((one - mean) ** 2 for one in paces) / (len(paces) - 1)) / mean
    ahead = max(1.0, rest / (done / count))
    return min(2.0, max(_LEAST_SPREAD, deviation * sqrt(1 / len(paces) + 1 / ahead)))
