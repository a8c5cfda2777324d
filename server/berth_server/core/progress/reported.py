"""Progress that programs report in files: `progress.json` of jobside, and `metrics.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from berth_server.core.progress.pace import Left, Pace
from berth_server.core.progress.reading import Position
from berth_server.core.progress.stalls import Steps

_LEAST_STEPS = 2
_OWN_SPREAD = 1.35
# A time that a program says of itself is believed up to this long after the file was written.
_CLOCK_SKEW_S = 5.0


@dataclass
class Reported:
    """The latest position that a program reported, and its pace."""

    position: Position | None = None
    own_left_s: float | None = None
    """Time left by the program's own account."""
    _pace: Pace | None = None

    def point(
        self, found: Mapping[str, float | None], written_at: float, total: int | None
    ) -> None:
        """Take one line of `metrics.jsonl`; `total` is what is said elsewhere."""
        step = found.get("step")
        whole = found.get("max_steps") or (total and float(total))
        left_s = found.get("time_left_s")
        if left_s is not None and left_s >= 0:
            self.own_left_s = left_s
        if step is None or not whole or whole < _LEAST_STEPS:
            return
        self._put("metrics", step, whole, _time(found.get("time"), written_at))

    def file(self, data: bytes, written_at: float) -> None:
        """Take the present `progress.json`; nonsense changes nothing."""
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(found, dict):
            return
        facts = cast("dict[str, Any]", found)
        step, total = _real(facts.get("step")), _real(facts.get("total"))
        if step is None or total is None or total <= 0:
            return
        first = _real(facts.get("first_step"))
        since = _real(facts.get("first_time"))
        at = _time(_real(facts.get("time")), written_at)
        if self.position is None and first is not None and since is not None and since < at:
            self._put("jobside", first, total, since)
        self._put("jobside", step, total, at)

    def steps(self) -> Steps | None:
        """Return when the last step came and how long steps take; None while too few are known."""
        return None if self._pace is None else self._pace.steps()

    def left(self, now: float) -> Left | None:
        """Time left; None while too little is known."""
        if self._pace is None or self.position is None:
            return None
        left = self._pace.left(now)
        if left is None and self.own_left_s is not None and not self._pace.silent(now):
            since_s = max(0.0, now - self.position.at)
            p50_s = max(0.0, self.own_left_s - since_s)
            return Left(p50_s, p50_s * _OWN_SPREAD)
        return left

    def _put(self, kind: str, step: float, total: float, at: float) -> None:
        if not 0 <= step <= total * 1.01 + 1:
            self.position = self._pace = None  # a total that was passed is none
            return
        before = self.position
        key = (kind, total)
        if before is None or before.key != key or step < before.step or self._pace is None:
            self._pace = Pace()
        fraction = min(1.0, step / total)
        self.position = Position(min(step, total), total, fraction, key, at)
        self._pace.add(at, fraction)


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) < 1e15 else None  # nan compares false


def _time(said: float | None, written_at: float) -> float:
    """Time of a report: what it says itself, unless that cannot be."""
    return said if said is not None and 0 < said <= written_at + _CLOCK_SKEW_S else written_at
