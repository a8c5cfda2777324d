"""Early stopping: the runs of an ablation to stop before their end, from their curves."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf
from statistics import median

from berth.protocol.ablations import EarlyStop


class Curve:
    """
    The values of one metric of one run by step, with running averages and bests.

    What a run writes for a step that it had passed already (it resumed) takes the place of
    everything from that step on. A value that is no number counts as the worst there is.
    """

    def __init__(self, mode: str = "min") -> None:
        """`mode` is the rule's: with `max` more is better."""
        self._sign = 1.0 if mode == "min" else -1.0
        self._steps: list[float] = []
        self._sums: list[float] = []
        self._bests: list[float] = []

    def add(self, step: float, value: float | None) -> None:
        """Take in the next value that the run wrote."""
        place = bisect_left(self._steps, step)
        del self._steps[place:], self._sums[place:], self._bests[place:]
        less_is_better = inf if value is None else self._sign * value
        self._steps.append(step)
        self._sums.append((self._sums[-1] if self._sums else 0.0) + less_is_better)
        self._bests.append(min(self._bests[-1] if self._bests else inf, less_is_better))

    @property
    def last_step(self) -> float | None:
        """The latest step of the run; None before its first value."""
        return self._steps[-1] if self._steps else None

    def best(self, step: float = inf) -> float | None:
        """The best value up to a step, turned so that less is better; None without any."""
        count = bisect_right(self._steps, step)
        return self._bests[count - 1] if count else None

    def average(self, step: float) -> float | None:
        """The mean of all values up to a step, turned likewise."""
        count = bisect_right(self._steps, step)
        return self._sums[count - 1] / count if count else None


@dataclass(frozen=True)
class Stop:
    """The reason for ending a run; values are turned so that less is better."""

    rule: EarlyStop
    other: float
    """Value it was compared with: the median, the best run's value, or the one at the target."""
    job_id: int | None = None
    """The run of that value; None for a median."""
    runs: int = 0
    """The number of runs of the median."""
    step: float = 0.0
    """Progress so far; of no meaning for a target."""
    best: float = inf
    """Its own best value up to there; likewise."""


def stops(
    rule: EarlyStop, curves: Mapping[int, Curve], stoppable: Collection[int]
) -> dict[int, Stop]:
    """
    The jobs among `stoppable` that the rule ends now, each with its reason.

    `curves` has those of all runs, ended ones too, by job id; `stoppable` are those that may
    be ended.
    """
    if rule.rule == "target":
        return _at_target(rule, curves, stoppable)
    found: dict[int, Stop] = {}
    for job_id in sorted(stoppable):
        curve = curves.get(job_id)
        step = curve.last_step if curve else None
        best = curve.best() if curve else None
        if step is None or best is None or step < rule.after_step:
            continue
        others = {other: c for other, c in curves.items() if other != job_id}
        judge = _by_median if rule.rule == "median" else _by_margin
        worse = judge(rule, step, best, others)
        if worse is not None:
            found[job_id] = replace(worse, step=step, best=best)
    return found


def _by_median(
    rule: EarlyStop, step: float, best: float, others: Mapping[int, Curve]
) -> Stop | None:
    """Golovin et al., Google Vizier (KDD 2017), section 3.2.2."""
    as_far = [c for c in others.values() if c.last_step is not None and c.last_step >= step]
    averages = [mean for c in as_far if (mean := c.average(step)) is not None]
    if len(averages) < rule.least_runs:
        return None
    middle = median(averages)
    return Stop(rule, middle, runs=len(averages)) if best > middle else None


def _by_margin(
    rule: EarlyStop, step: float, best: float, others: Mapping[int, Curve]
) -> Stop | None:
    bests = [(value, job_id) for job_id, c in others.items() if (value := c.best(step)) is not None]
    if not bests:
        return None
    value, job_id = min(bests)
    return Stop(rule, value, job_id) if best > value + (rule.margin or 0.0) else None


def _at_target(
    rule: EarlyStop, curves: Mapping[int, Curve], stoppable: Collection[int]
) -> dict[int, Stop]:
    wanted = (1.0 if rule.mode == "min" else -1.0) * (rule.target or 0.0)
    reached = [
        (value, job_id)
        for job_id, curve in curves.items()
        if (value := curve.best()) is not None and value <= wanted
    ]
    if not reached:
        return {}
    value, winner = min(reached)
    winners = {job_id for _, job_id in reached}
    reason = Stop(rule, value, winner)
    return {job_id: reason for job_id in sorted(stoppable) if job_id not in winners}
