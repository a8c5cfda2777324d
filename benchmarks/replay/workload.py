"""From a trace to the jobs of one run: which jobs, when they arrive, what limit users give."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from pathlib import Path

from traces import read_rows

BOX_GPUS = 8
LONGEST_S = 48 * 3600.0
LAB_MIX = {1: 0.55, 2: 0.15, 4: 0.15, 8: 0.15}
LIMITS_S = tuple(h * 3600.0 for h in (0.25, 0.5, 1, 2, 4, 8, 12, 24, 48))
LAZY_SHARE = 0.3
"""Share of users' jobs that simply ask for the longest limit."""


@dataclass(frozen=True, kw_only=True)
class TraceJob:
    """One job as it happened, or as it arrives at the simulated box."""

    id: int
    arrives_s: float
    length_s: float
    gpus: int
    user: str
    limit_s: float | None = None


def read_trace(folder: Path) -> list[TraceJob]:
    """Read every CSV of a folder (or one file) in submit order, lengths capped, gangs that fit."""
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else [folder]
    jobs = [
        TraceJob(
            id=0,
            arrives_s=at_s,
            length_s=min(LONGEST_S, max(1.0, length_s)),
            gpus=gpus,
            user=user,
        )
        for file in files
        for at_s, length_s, gpus, user in read_rows(file)
        if 1 <= gpus <= BOX_GPUS
    ]
    jobs.sort(key=lambda job: job.arrives_s)
    return jobs


def sample(
    trace: list[TraceJob],
    *,
    seed: int,
    count: int,
    load: float,
    mix: str,
    arrivals: str = "poisson",
    limits: str = "modal",
) -> list[TraceJob]:
    """
    Draw one run's jobs.

    `philly` draws jobs at random, with replacement; `lab` draws gang sizes by LAB_MIX and a random
    job of that size for each; `stretch` takes consecutive jobs from a random place on (wrapping
    round), with the bursts that a cluster a hundred times as large had. Arrivals are a
    Poisson process, or the trace's own gaps, scaled so that the work offered over the run is
    `load` of the box.
    """
    rng = random.Random(seed)
    start = rng.randrange(len(trace))
    count = min(count, len(trace))
    stretch = [trace[(start + i) % len(trace)] for i in range(count)]
    if mix == "lab":
        by_size = {g: [job for job in trace if job.gpus == g] for g in LAB_MIX}
        sizes = rng.choices(list(LAB_MIX), weights=list(LAB_MIX.values()), k=count)
        picked = [rng.choice(by_size[g]) for g in sizes]
    elif mix == "philly":
        picked = rng.choices(trace, k=count)
    else:
        picked = stretch
    if arrivals == "poisson":
        gaps = [rng.expovariate(1.0) for _ in picked]
    else:
        times = [job.arrives_s for job in stretch]
        gaps = [0.0, *(max(0.0, b - a) for a, b in itertools.pairwise(times))]
    work_s = sum(job.length_s * job.gpus for job in picked)
    scale = work_s / (BOX_GPUS * load) / sum(gaps)
    now_s = 0.0
    jobs: list[TraceJob] = []
    for i, (job, gap) in enumerate(zip(picked, gaps, strict=True)):
        now_s += gap * scale
        limit_s = _limit(rng, job.length_s) if limits == "modal" else None
        jobs.append(replace(job, id=i + 1, arrives_s=now_s, limit_s=limit_s))
    return jobs


def _limit(rng: random.Random, length_s: float) -> float:
    """
    A limit as users give them: a round value, used to a uniformly random part, or the maximum.

    After Mu'alem and Feitelson (2001) and Tsafrir et al. (2005).
    """
    if rng.random() < LAZY_SHARE:
        return LIMITS_S[-1]
    wanted_s = length_s / max(0.02, rng.random())
    return next((limit for limit in LIMITS_S if limit >= wanted_s), LIMITS_S[-1])
