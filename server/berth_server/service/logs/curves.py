"""Curves of running attempts, for early stopping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from berth.protocol.ablations import EarlyStop
from berth.protocol.metrics import MetricPoint
from berth_server.core.early_stopping import Curve
from berth_server.service.errors import Forbidden
from berth_server.service.logs.metrics import METRICS_NAME, json_point, printed_points
from berth_server.service.logs.pages import LOG_NAME
from berth_server.service.logs.tail import TailReader

# A log that grows faster than this between two looks is read from its end.
_MOST_BYTES = 8 << 20


@dataclass
class _Followed:
    """One attempt's curve, and the positions in its files."""

    curve: Curve
    metrics: TailReader = field(default_factory=lambda: TailReader(_MOST_BYTES))
    log: TailReader = field(default_factory=lambda: TailReader(_MOST_BYTES))
    from_metrics: bool = False
    points: int = 0

    def read(self, rule: EarlyStop, run_dir: str, uid: int) -> None:
        for point in self._new_points(run_dir, uid):
            self.points += 1
            if rule.metric not in point:
                continue
            step = point.get("step")
            self.curve.add(float(self.points) if step is None else step, point[rule.metric])

    def _new_points(self, run_dir: str, uid: int) -> Iterator[MetricPoint]:
        for line in _readable(self.metrics, run_dir, METRICS_NAME, uid).splitlines():
            point = json_point(line)
            if point is not None:
                self.from_metrics = True
                yield point
        if not self.from_metrics:
            yield from printed_points(_readable(self.log, run_dir, LOG_NAME, uid))


class Curves:
    """Curves of one ablation's attempts. Reads files: used on a thread, one at a time."""

    def __init__(self, rule: EarlyStop) -> None:
        self.rule = rule
        self._followed: dict[str, _Followed] = {}
        self._done: set[str] = set()

    def read(self, attempt: str, run_dir: str, uid: int, *, ended: bool) -> Curve:
        """Return an attempt's curve now; one that has ended is read once more, then kept."""
        followed = self._followed.setdefault(attempt, _Followed(Curve(self.rule.mode)))
        if attempt not in self._done:
            followed.read(self.rule, run_dir, uid)
            if ended:
                self._done.add(attempt)
        return followed.curve


def _readable(tail: TailReader, run_dir: str, name: str, uid: int) -> bytes:
    try:
        return tail.lines(run_dir, name, uid)
    except Forbidden:
        return b""  # the comparison shows the reason
