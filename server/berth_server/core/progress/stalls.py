"""
Stuck and sick runs, told by steps that stopped, by the power of the GPUs and by the processes.

Utilisation cannot tell: ranks that wait for a dead one keep their GPUs at 100 % with almost no
power. So a run is suspected only where none of its GPUs does any work, nothing came into its log
and no step for many times as long as ever before; and it counts as stalled only when a look at
its processes finds none that works, writes, compiles or is being debugged. Evaluation, a
checkpoint, compiling and data preparation each keep one of these busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

StallKind = Literal["waiting", "idle"]
"""`waiting`: GPUs spin without working; `idle`: they do nothing at all."""

WAITING_AFTER_S = 900.0
IDLE_AFTER_S = 1800.0
"""No step and no line for so long, at least, before a run is suspected."""
_USUAL, _LONGEST = 20.0, 3.0
"""… and for so many times its usual step, and its longest pause so far."""
_WINDOW_S = 300.0
"""Its GPUs were seen without work for so long."""
_SPINNING_PERCENT, _IDLE_PERCENT = 90.0, 2.0
_SPINNING_POWER = 0.30
"""Of the power limit: 123 of 700 W were measured on H200 whose ranks wait, over 600 in training."""
_WORKED_POWER = 1.6
"""A GPU that spins has drawn so many times as much while it worked."""
_MOST_LOOKS = 240
_UNLIKE = 0.35
_LIKE = 0.15
_BASELINE_S, _COMPARED_S = 600.0, 600.0


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """Load of one GPU at one moment; None where the driver does not tell."""

    utilization: float | None
    power_w: float | None
    limit_w: float | None


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a run as its progress tells them."""

    last_at: float
    """Time of the last one, unix seconds."""
    usual_s: float
    """Median time between two reports of progress."""
    longest_s: float
    """The longest there was so far: evaluation, a checkpoint."""


@dataclass(frozen=True, slots=True)
class ProcessActivity:
    """Activity of one process of a run over a few seconds."""

    pid: int
    cpu: float
    """Part of one processor."""
    io_bytes_s: float
    gpu: int | None = None
    """The box's index of a GPU that it is on."""
    rank: int | None = None
    debugged: bool = False
    """True if a debugger or profiler is attached to it, waits in it, or it was stopped by hand."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A run that seems to have stalled; its processes decide."""

    kind: StallKind
    since: float
    """Time of the last step or line."""
    spinning: tuple[int, ...]
    """Positions of the GPUs that spin."""


@dataclass
class Vitals:
    """Loads of the GPUs of one attempt over the last half hour, and what they were at work."""

    looks: deque[tuple[float, tuple[GpuLoad, ...]]] = field(
        default_factory=lambda: deque(maxlen=_MOST_LOOKS)
    )
    busiest_w: list[float] = field(default_factory=list)
    """By GPU, the most power that it drew."""
    baseline: list[float] | None = None
    """By GPU, the power that it drew while the first steps came, in the mean."""

    def look(self, at: float, loads: Sequence[GpuLoad]) -> None:
        """Take the present loads, in the order of the attempt's GPUs."""
        self.looks.append((at, tuple(loads)))
        self.busiest_w += [0.0] * (len(loads) - len(self.busiest_w))
        for i, load in enumerate(loads):
            self.busiest_w[i] = max(self.busiest_w[i], load.power_w or 0.0)

    def covers(self, now: float) -> bool:
        """True once it was looked at for long enough to judge."""
        return bool(self.looks) and now - self.looks[0][0] >= _WINDOW_S

    def suspicion(
        self, now: float, steps: Steps | None, wrote_at: float | None
    ) -> Suspicion | None:
        """Suspicion that the run has stalled; None while anything tells otherwise or too little."""
        last_at = max(wrote_at or 0.0, steps.last_at if steps is not None else 0.0)
        if not last_at:
            return None
        quiet_s = now - last_at
        window = [loads for at, loads in self.looks if now - at <= _WINDOW_S]
        if not window or not self.covers(now):
            return None
        states = [
            _state([loads[i] for loads in window], self.busiest_w[i])
            for i in range(len(window[-1]))
        ]
        if not states or "unknown" in states or "works" in states:
            return None
        kind: StallKind = "waiting" if "spins" in states else "idle"
        if steps is None and kind == "idle":
            # Without steps nothing tells that it ever did more than prepare.
            return None
        least_s = WAITING_AFTER_S if kind == "waiting" else IDLE_AFTER_S
        if steps is not None:
            least_s = max(least_s, _USUAL * steps.usual_s, _LONGEST * steps.longest_s)
        else:
            least_s *= 2
        if quiet_s < least_s:
            return None
        spinning = tuple(i for i, state in enumerate(states) if state == "spins")
        return Suspicion(kind, last_at, spinning)

    def unlike(self, now: float, steps: Steps) -> int | None:
        """
        Position of a GPU that has come to differ from its peers while steps come; None if none.

        Its power over that of its first ten minutes is compared with the median of all: stages of
        a pipeline differ from the start, and so they may. At least three GPUs.
        """
        if not self.looks or now - steps.last_at > max(60.0, 3 * steps.usual_s):
            return None
        powers = _mean_powers([loads for at, loads in self.looks if now - at <= _COMPARED_S])
        if powers is None or now - self.looks[0][0] < _COMPARED_S:
            return None
        if self.baseline is None:
            self.baseline = powers
            return None
        if len(powers) != len(self.baseline) or not all(self.baseline):
            return None
        ratios = [after / before for after, before in zip(powers, self.baseline, strict=True)]
        middle = median(ratios)
        changes = [ratio / middle - 1.0 for ratio in ratios] if middle > 0 else []
        far = [i for i, change in enumerate(changes) if abs(change) > _UNLIKE]
        near = sum(abs(change) <= _LIKE for change in changes)
        return far[0] if len(far) == 1 and near == len(changes) - 1 else None


def is_alive(suspicion: Suspicion, activity: Sequence[ProcessActivity]) -> bool:
    """
    True if a process of a suspected run works after all, or nobody can tell.

    A rank that waits on a GPU keeps a processor busy with that, so the processes on GPUs that spin are
    not counted; any other that computes, reads or writes does something for the run.
    """
    if not activity:
        return True
    for process in activity:
        if process.debugged or process.io_bytes_s >= _IO_BYTES_S:
            return True
        waits = process.gpu is not None and process.gpu in suspicion.spinning
        if not waits and process.cpu >= _BUSY_CPU:
            return True
    return False


_IO_BYTES_S = 65536.0
_BUSY_CPU = 0.2


def _state(
    loads: Sequence[GpuLoad], busiest_w: float
) -> Literal["works", "spins", "idle", "unknown"]:
    """State of one GPU over a while: any work in it counts as work."""
    known = [one for one in loads if one.utilization is not None]
    if len(known) < len(loads) or not known:
        return "unknown"
    if all((one.utilization or 0.0) <= _IDLE_PERCENT for one in known):
        return "idle"
    if any(one.power_w is None or not one.limit_w for one in known):
        return "works"
    most_w = max(one.power_w or 0.0 for one in known)
    limit_w = min(one.limit_w or 0.0 for one in known)
    spins = all((one.utilization or 0.0) >= _SPINNING_PERCENT for one in known)
    if spins and most_w <= _SPINNING_POWER * limit_w and most_w * _WORKED_POWER <= busiest_w:
        return "spins"
    return "works"


def _mean_powers(looks: Sequence[tuple[GpuLoad, ...]]) -> list[float] | None:
    """Mean power of each GPU; None where some is unknown or there are fewer than three."""
    if not looks or len(looks[-1]) < 3:
        return None
    means: list[float] = []
    for i in range(len(looks[-1])):
        powers = [loads[i].power_w for loads in looks if i < len(loads)]
        known = [power for power in powers if power is not None]
        if not known:
            return None
        means.append(sum(known) / len(known))
    return means
