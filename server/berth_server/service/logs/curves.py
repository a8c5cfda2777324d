"""Following what runs measure: each look reads only what was written since the last one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from berth.protocol.ablations import EarlyStop
from berth.protocol.metrics import MetricPoint
from berth_server.core.early_stopping import Curve
from berth_server.service.errors import Forbidden
from berth_server.service.logs.metrics import METRICS_NAME, json_point, printed_points
from berth_server.service.logs.pages import LOG_NAME
from berth_server.service.logs.run_files import open_run_file

# A log that grows faster than this between two looks is read from its end.
_MOST_BYTES = 8 << 20


@dataclass
class _Tail:
    """How far a file was read."""

    name: str
    offset: int = 0
    rest: bytes = b""
    """The beginning of a line that is not written to its end."""

    def read(self, run_dir: str, uid: int) -> bytes:
        """Whole lines that are new."""
        try:
            handle = open_run_file(run_dir, self.name, uid)
        except Forbidden:
            return b""  # the comparison says so to whoever looks
        if handle is None:
            return b""
        try:
            size = os.fstat(handle).st_size
            if size < self.offset or size - self.offset > _MOST_BYTES:
                self.offset, self.rest = max(0, size - _MOST_BYTES), b""
            data = os.pread(handle, size - self.offset, self.offset)
        finally:
            os.close(handle)
        self.offset += len(data)
        lines, newline, self.rest = (self.rest + data).rpartition(b"\n")
        return lines + newline


@dataclass
class _Followed:
    """One attempt's curve, and where its files are read on."""

    curve: Curve
    metrics: _Tail = field(default_factory=lambda: _Tail(METRICS_NAME))
    log: _Tail = field(default_factory=lambda: _Tail(LOG_NAME))
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
        for line in self.metrics.read(run_dir, uid).splitlines():
            point = json_point(line)
            if point is not None:
                self.from_metrics = True
                yield point
        if not self.from_metrics:
            yield from printed_points(self.log.read(run_dir, uid))


class Curves:
    """The curves of the attempts of one ablation. Reads files: used on a thread, one at a time."""

    def __init__(self, rule: EarlyStop) -> None:
        self.rule = rule
        self._followed: dict[str, _Followed] = {}
        self._done: set[str] = set()

    def look(self, attempt: str, run_dir: str, uid: int, *, ended: bool) -> Curve:
        """An attempt's curve as it is now; one that has ended is read once more, then kept."""
        followed = self._followed.setdefault(attempt, _Followed(Curve(self.rule.mode)))
        if attempt not in self._done:
            followed.read(self.rule, run_dir, uid)
            if ended:
                self._done.add(attempt)
        return followed.curve
