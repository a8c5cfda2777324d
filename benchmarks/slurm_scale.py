"""
The Slurm executor at the size of a large cluster. `python benchmarks/slurm_scale.py`.

Real executor, devices and run directories; the cluster is pretended: 1,000 nodes of eight GPUs and
10,000 jobs, with the time that Slurm's commands take and answers that are lost. Prints what one
look costs, how many commands a second are made, and the memory.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import anyio
import structlog

from berth.home import Home
from berth.protocol.internal import DesiredAttempt, DesiredState, LeasedGpu
from berth_worker.slurm.client import Cluster, Submission, UnansweredError
from berth_worker.slurm.devices import SlurmDevices
from berth_worker.slurm.executor import SlurmExecutor
from berth_worker.slurm.listing import ClusterJob, ClusterNode
from berth_worker.slurm.options import SlurmOptions

_LOST_ANSWERS = 0.02


class PretendedSlurm:
    """A controller that takes every job, starts it where it was wished, and loses answers."""

    def __init__(self, nodes: int, answer_s: float) -> None:
        self._nodes = nodes
        self._answer_s = answer_s
        self._jobs: dict[str, ClusterJob] = {}
        self._random = random.Random(7)
        self.calls: Counter[str] = Counter()
        self.started_twice = 0

    def cluster(self, partition: str | None = None) -> Cluster:
        """Return all jobs and nodes."""
        del partition
        self.calls["list"] += 1
        nodes = tuple(
            ClusterNode(f"n{i}", frozenset({"MIXED"}), 8, "h200") for i in range(self._nodes)
        )
        return Cluster(time.time(), tuple(self._jobs.values()), nodes)

    def submit(self, job: Submission) -> int:
        """Take a job; now and then the answer is lost although it was taken."""
        self.calls["submit"] += 1
        time.sleep(self._answer_s)
        number = len(self._jobs) + 1
        if job.name in self._jobs:
            self.started_twice += 1
        node = job.wanted_nodes[0]
        index = number % 8
        self._jobs[job.name] = ClusterJob(
            number, job.name, "RUNNING", submitted_at=int(time.time()), nodes=(node,),
            gpus={node: frozenset({index})},
        )  # fmt: skip
        if self._random.random() < _LOST_ANSWERS:
            raise UnansweredError("Socket timed out on send/recv operation")
        return number

    def cancel(self, job_id: int) -> None:
        """Count a cancel."""
        del job_id
        self.calls["cancel"] += 1


class Trigger:
    """Takes the place of the link to the server."""

    def report_now(self) -> None:
        """Do nothing."""

    report_soon = report_now


def desired(folder: Path, count: int, nodes: int) -> DesiredState:
    """Return that many attempts of one GPU each."""
    attempts = tuple(
        DesiredAttempt(
            attempt=f"{n}.1", token=f"{n:032x}", action="run", run_dir=str(folder / f"{n}" / "1"),
            job_id=n, number=1, user="ada", command=["true"], workdir="/",
            gpus=(LeasedGpu(uuid=f"n{n % nodes}:{n % 8}", index=n % 8),),
            grace=timedelta(seconds=60), warn_before=timedelta(seconds=60),
        )
        for n in range(1, count + 1)
    )  # fmt: skip
    return DesiredState(generation=1, attempts=attempts)


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Submit all, then look at them for a while."""
    slurm = PretendedSlurm(options.nodes, options.answer_ms / 1e3)
    devices = SlurmDevices(slurm, SlurmOptions(), "0000")  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        executor = SlurmExecutor(
            tasks, slurm, Home(folder), SlurmOptions(), Trigger(), lambda: devices.cluster  # type: ignore[arg-type]
        )  # fmt: skip
        began = time.perf_counter()
        executor.apply(desired(folder / "runs", options.jobs, options.nodes))
        while slurm.calls["submit"] < options.jobs:  # noqa: ASYNC110 - threads count
            await anyio.sleep(0.1)
        took = time.perf_counter() - began
        print(f"submit of {options.jobs:,} jobs  {options.jobs / took:.0f}/s")
        before = Counter(slurm.calls)
        looks, snapshots, walls = [], [], []
        for _ in range(options.looks):
            started = time.perf_counter()
            cpu = time.process_time()
            devices.snapshot({})
            snapshots.append(time.process_time() - cpu)
            cpu = time.process_time()
            executor.look()
            looks.append(time.process_time() - cpu)
            walls.append(time.perf_counter() - started)
            await anyio.sleep(max(0.0, 1.0 - walls[-1]))
        ran = sum(slurm.calls.values()) - sum(before.values())
        print(f"one look, {options.jobs:,} attempts on {options.nodes:,} nodes  "
              f"snapshot {_ms(snapshots)}  look {_ms(looks)} (CPU)  wall {_ms(walls)}")  # fmt: skip
        print(f"Slurm commands  {ran / options.looks:.2f} a second, listings included as one")
        print(f"submitted twice  {slurm.started_twice}")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"memory  {memory} MiB at most")
        tasks.cancel_scope.cancel()


def _ms(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {1e3 * ordered[len(ordered) // 2]:.0f} ms, most {1e3 * ordered[-1]:.0f} ms"


def main() -> None:
    """Measure in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--looks", type=int, default=12)
    parser.add_argument("--answer-ms", type=float, default=8.0, help="sbatch on a quiet controller")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr),
                        wrapper_class=structlog.make_filtering_bound_logger(50))  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="berth-scale-"))
    try:
        anyio.run(measure, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
