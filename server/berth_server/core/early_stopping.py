"""Early stopping: the runs of an ablation to stop before their end, from their curves."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
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
        """How far the run has come; None before its first value."""
        return self._steps[-1] if self._steps else None

    def best(self, step: float = inf) -> float | None:
        """The best value up to a step, turned so that less is better; None without any."""
        count = bisect_right(self._steps, step)
        return self._bests[count - 1] if count else None

    def average(self, step: float) -> float | None:
        """The mean of all values up to a step, turned likewise."""
        count = bisect_right(self._steps, step)
        return self._sums[count - 1] / count if count else None


def stops(
    rule: EarlyStop, curves: Mapping[int, Curve], stoppable: Collection[int]
) -> dict[int, str]:
    """
    The jobs among `stoppable` that the rule ends now, each with its sentence.

    `curves` has those of all runs, ended ones too, by job id; `stoppable` are those that may
    be ended.
    """
    if rule.rule == "target":
        return _at_target(rule, curves, stoppable)
    found: dict[int, str] = {}
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
            told = f"its best {rule.metric} by step {step:g} is {_shown(rule, best)}"
            found[job_id] = f"Stopped early: {told}, {worse}."
    return found


def _by_median(
    rule: EarlyStop, step: float, best: float, others: Mapping[int, Curve]
) -> str | None:
    """Golovin et al., Google Vizier (KDD 2017), section 3.2.2."""
    as_far = [c for c in others.values() if c.last_step is not None and c.last_step >= step]
    averages = [mean for c in as_far if (mean := c.average(step)) is not None]
    if len(averages) < rule.least_runs:
        return None
    middle = median(averages)
    if not best > middle:
        return None
    return f"worse than {_shown(rule, middle)}, the median of the {len(averages)} other runs so far"


def _by_margin(
    rule: EarlyStop, step: float, best: float, others: Mapping[int, Curve]
) -> str | None:
    bests = [(value, job_id) for job_id, c in others.items() if (value := c.best(step)) is not None]
    if not bests:
        return None
    value, job_id = min(bests)
    margin = rule.margin or 0.0
    if not best > value + margin:
        return None
    return f"more than {margin:g} worse than {_shown(rule, value)} of job {job_id}"


def _at_target(
    rule: EarlyStop, curves: Mapping[int, Curve], stoppable: Collection[int]
) -> dict[int, str]:
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
    sentence = (
        f"Stopped early: job {winner} has reached {rule.metric} {_shown(rule, value)}, "
        f"the target being {rule.target:g}."
    )
    return {job_id: sentence for job_id in sorted(stoppable) if job_id not in winners}


def _shown(rule: EarlyStop, less_is_better: float) -> str:
    if less_is_better == inf:
        return "no number"
    return f"{less_is_better if rule.mode == 'min' else -less_is_better:.4g}"
