"""Progress of a running attempt on the wire."""

from __future__ import annotations

from typing import Literal

from berth.protocol.base import UtcTime, Wire

ProgressSource = Literal["jobside", "metrics.jsonl", "log"]


class Progress(Wire):
    """Progress of a running attempt, and the time it still takes."""

    step: int | float
    """What is done: steps, or turns of whatever it counts."""
    total: int | float
    """What there is to do, in the same unit."""
    fraction: float
    """Part of the whole run that is done, 0 to 1."""
    source: ProgressSource
    """Where it was read: `berth.jobside.progress`, `metrics.jsonl` or the log."""
    seconds_left: float | None = None
    """Median of the time left, seconds; absent during warm-up and once steps stop coming."""
    seconds_left_p90: float | None = None
    """Nine of ten such attempts are done by then, seconds; absent like `seconds_left`."""
    at: UtcTime
    """Time of the attempt's last report."""
