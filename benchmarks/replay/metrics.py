"""Metrics of a replayed run."""

from __future__ import annotations

from collections.abc import Sequence

from engine import Run

SLOWDOWN_FLOOR_S = 10.0
"""Lengths below this count as this much, or the shortest jobs would decide the slowdown."""


def quantile(values: Sequence[float], q: float) -> float:
    """The value that a share `q` lies at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def mean(values: Sequence[float]) -> float:
    """The mean, 0 for none."""
    return sum(values) / len(values) if values else 0.0


def overtakes(runs: Sequence[Run], cap_s: float) -> int:
    """
    Number of starts while an earlier job had waited past the cap.

    Counts starts, once each, however many they overtook.
    """
    by_arrival = sorted(runs, key=lambda run: (run.job.arrives_s, run.job.id))
    late = [run for run in by_arrival if run.wait_s > cap_s]
    return sum(
        any(
            old.job.arrives_s < run.job.arrives_s
            and old.job.arrives_s + cap_s < run.started_s < old.started_s
            for old in late
        )
        for run in runs
    )


def fairness(runs: Sequence[Run]) -> float:
    """Jain's index over users of the hours waited per GPU-hour received: 1 is equal for all."""
    waits: dict[str, float] = {}
    work: dict[str, float] = {}
    for run in runs:
        waits[run.job.user] = waits.get(run.job.user, 0.0) + run.wait_s
        work[run.job.user] = work.get(run.job.user, 0.0) + run.job.length_s * run.job.gpus
    rates = [waits[user] / work[user] for user in waits]
    squares = len(rates) * sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / squares if squares else 1.0


def measure(runs: Sequence[Run], gpus: int, cap_s: float) -> dict[str, float]:
    """All columns; times in hours."""
    jct = [(run.wait_s + run.job.length_s) / 3600 for run in runs]
    slow = [
        max(1.0, (run.wait_s + run.job.length_s) / max(SLOWDOWN_FLOOR_S, run.job.length_s))
        for run in runs
    ]
    last_s = max(run.job.arrives_s for run in runs)
    busy_s = sum(run.job.gpus * max(0.0, min(run.ended_s, last_s) - run.started_s) for run in runs)
    columns = {
        "JCT mean": mean(jct),
        "JCT p95": quantile(jct, 0.95),
        "slowdown p50": quantile(slow, 0.5),
        "slowdown p95": quantile(slow, 0.95),
    }
    for size in (1, 2, 4, 8):
        waits = [run.wait_s / 3600 for run in runs if run.job.gpus == size]
        columns[f"wait {size} mean"] = mean(waits)
        columns[f"wait {size} p95"] = quantile(waits, 0.95)
        columns[f"wait {size} worst"] = max(waits, default=0.0)
    columns["utilisation %"] = 100 * busy_s / (gpus * last_s)
    columns["fairness"] = fairness(runs)
    columns["overtakes"] = overtakes(runs, cap_s)
    return columns
