"""
Duration of one scheduling pass with a long queue. `python benchmarks/scheduling_pass.py`.

The box is full but for one GPU, no job in the queue may be skipped without a look: 10,000 jobs of
all sizes, with histories, limits and priorities. Prints CPU and wall time of the fastest and
the median pass: on a busy machine the CPU time says more.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from berth.protocol.states import JobState
from berth_server.core.estimate import Estimate
from berth_server.core.forecast import plan_with_forecast
from berth_server.core.model import GpuView, JobView, LeaseView, Plan, RunningView, Snapshot, Usage
from berth_server.core.policy import plan
from berth_server.core.settings import Limits, PolicySettings

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def main() -> None:
    """Print one line per kind of pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--passes", type=int, default=100)
    options = parser.parse_args()
    snapshot = _snapshot(options.jobs)
    limited = PolicySettings(user_limits=Limits(running_gpus=4))
    kinds = {
        "decision alone": (plan, PolicySettings()),
        "with limits for each user": (plan, limited),
        "with the expected starts of the first 100": (plan_with_forecast, PolicySettings()),
    }
    for name, (decide, settings) in kinds.items():
        passes = [_pass_ms(decide, snapshot, settings) for _ in range(options.passes)]
        cpu, wall = (_spread(times_ms) for times_ms in zip(*passes, strict=True))
        print(f"{options.jobs:,} queued, {name}: CPU {cpu}; wall {wall}")


def _spread(times_ms: Sequence[float]) -> str:
    return f"fastest {min(times_ms):.1f} ms, median {statistics.median(times_ms):.1f} ms"


def _pass_ms(
    decide: Callable[[Snapshot, PolicySettings], Plan], snapshot: Snapshot, settings: PolicySettings
) -> tuple[float, float]:
    """
    CPU and wall time of one pass over a snapshot that was not seen before.

    The views are kept, as in the server.
    """
    fresh = Snapshot(
        now=snapshot.now,
        gpus=snapshot.gpus,
        queue=snapshot.queue,
        running=snapshot.running,
        user_usage=snapshot.user_usage,
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    decide(fresh, settings)
    cpu_s, wall_s = time.process_time() - cpu_began, time.perf_counter() - began
    return 1000 * cpu_s, 1000 * wall_s


def _snapshot(jobs: int) -> Snapshot:
    rng = random.Random(7)
    users = [f"user{i}" for i in range(20)]
    queue = tuple(
        JobView(
            id=number,
            name=f"job-{number}",
            user=rng.choice(users),
            state=JobState.QUEUED,
            gpus=rng.choices((1, 2, 4, 8), (55, 15, 15, 15))[0],
            queued_at=NOW - timedelta(minutes=rng.uniform(1, 10_000)),
            priority=rng.choice((0, 0, 0, 1)),
            time_limit=timedelta(hours=rng.choice((1, 4, 24))),
            estimate=_estimate(rng) if rng.random() < 0.8 else None,
        )
        for number in range(1, jobs + 1)
    )
    runs = tuple(
        RunningView(
            job_id=jobs + i + 1,
            attempt=f"{jobs + i + 1}.1",
            user=rng.choice(users),
            name="theirs",
            gpu_uuids=(f"GPU-{i}",),
            started_at=NOW - timedelta(hours=1),
            time_limit=timedelta(hours=24),
            estimate=_estimate(rng),
        )
        for i in range(7)
    )
    gpus = tuple(
        GpuView(
            uuid=f"GPU-{i}",
            index=i,
            memory_total_bytes=80 << 30,
            lease=LeaseView(job_id=runs[i].job_id, attempt=runs[i].attempt, user=runs[i].user)
            if i < len(runs)
            else None,
        )
        for i in range(8)
    )
    usage = {user: Usage(decayed_gpu_s=rng.uniform(0, 1e6)) for user in users}
    return Snapshot(now=NOW, gpus=gpus, queue=queue, running=runs, user_usage=usage)


def _estimate(rng: random.Random) -> Estimate:
    return Estimate(tuple(sorted(rng.lognormvariate(7, 2) for _ in range(20))))


if __name__ == "__main__":
    main()
