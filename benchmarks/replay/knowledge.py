"""Knowledge of lengths in a replay: progress of running jobs, and lengths of queued ones."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import exp
from pathlib import Path

from workload import TraceJob

from berth_server.core.estimate import Estimate
from berth_server.core.progress.remaining import Remaining

_ERRORS = Path(__file__).with_name("progress_errors.json")
_TELLS_AFTER_S, _TELLS_AFTER_PART = 600.0, 0.1
"""A job tells how far it is after this time or this part of its length, whichever is earlier, but
not before its program did when it was recorded."""
_QUEUED_SIGMA = 0.3
"""Standard deviation of the logarithm of a queued job's estimate over its true length."""
_QUEUED_SAMPLES = tuple(exp(_QUEUED_SIGMA * z) for z in (-1.53, -0.89, -0.49, -0.16))
_AROUND = (*_QUEUED_SAMPLES, *(1 / one for one in reversed(_QUEUED_SAMPLES)))


@dataclass(frozen=True, kw_only=True)
class Program:
    """Recorded program: from when on it told its time left, and how wrong at which part of then."""

    from_s: float
    errors: tuple[tuple[float, float, float], ...]
    """Part of the time from the first telling to the end; logarithms of told/true and p90/p50."""

    def at(self, part: float) -> tuple[float, float] | None:
        """Errors at a part of the time since it first told; None where it told nothing."""
        near = min(self.errors, key=lambda one: abs(one[0] - part))
        return None if abs(near[0] - part) > 0.1 else near[1:]


@cache
def programs() -> tuple[Program, ...]:
    """Every recorded program that told anything (`record_errors.py`)."""
    made: list[Program] = []
    for found in json.loads(_ERRORS.read_text()):
        first = found["from_part"]
        errors = tuple(
            (max(0.0, (part - first) / (1 - first)), error, spread)
            for part, error, spread in found["errors"]
        )
        made.append(Program(from_s=found["from_s"], errors=errors))
    return tuple(made)


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """Shares of the jobs of which something is known, drawn by job: equal for every policy."""

    progress: float = 0.0
    queued: float = 0.0

    def estimate(self, job: TraceJob) -> Estimate | None:
        """Length of a queued job as its steps and earlier runs tell it; None for the others."""
        rng = random.Random(f"queued {job.id} {job.length_s}")
        if rng.random() >= self.queued:
            return None
        middle_s = job.length_s * exp(_QUEUED_SIGMA * rng.gauss(0.0, 1.0))
        return Estimate(tuple(middle_s * one for one in _AROUND), "its steps")

    def remaining(self, job: TraceJob, elapsed_s: float, now: datetime) -> Remaining | None:
        """Remaining time that a running job tells, with the errors of a recorded program."""
        rng = random.Random(f"running {job.id} {job.length_s}")
        if rng.random() >= self.progress:
            return None
        program = rng.choice(programs())
        from_s = max(program.from_s, min(_TELLS_AFTER_S, _TELLS_AFTER_PART * job.length_s))
        left_s = job.length_s - elapsed_s
        if elapsed_s < from_s or left_s <= 0:
            return None
        found = program.at((elapsed_s - from_s) / (job.length_s - from_s))
        if found is None:
            return None
        p50_s = left_s * exp(found[0])
        return Remaining(p50_s=p50_s, p90_s=p50_s * exp(found[1]), source="log", at=now)
