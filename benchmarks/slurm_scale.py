"""
The Slurm executor at the size of a large cluster. `python benchmarks/slurm_scale.py`.

Real executor, devices and run directories, and what Slurm prints is read; the cluster is pretended:
1,000 nodes of eight GPUs and 10,000 jobs, with the time that sbatch takes and answers that are
lost. Prints what one look costs, how many commands a second are made, and the memory.
"""

from __future__ import annotations

import argparse
import json
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
from berth_worker.slurm.client import Submission, UnansweredError
from berth_worker.slurm.devices import SlurmDevices
from berth_worker.slurm.executor import SlurmExecutor
from berth_worker.slurm.listing import SEPARATOR
from berth_worker.slurm.options import SlurmOptions

_LOST_ANSWERS = 0.02
_NODE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket=1  CPUAlloc=8 CPUEfctv=128 CPUTot=128 "
    "CPULoad={load:.2f} AvailableFeatures=(null) ActiveFeatures=(null) Gres=gpu:h200:8 GresDrain=N/A "
    "GresUsed=gpu:h200:8(IDX:0-7) NodeAddr={name} NodeHostName={name} Port=6818 Version=22.05.8 "
    "OS=Linux 6.1.0 RealMemory=2000000 AllocMem=0 FreeMem=N/A Sockets=2 Boards=1 State=MIXED "
    "ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu "
    "BootTime=2026-11-30T09:00:00 CfgTRES=cpu=128,mem=2000000M,billing=128 AllocTRES=cpu=8"
)
_JOB = (
    "JobId={id} JobName={name} UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A Priority=4294901757 "
    "Nice=0 Account=lab QOS=normal JobState=RUNNING Reason=None Dependency=(null) Requeue=0 "
    "ExitCode=0:0 DerivedExitCode=0:0 RunTime=00:01:05 TimeLimit=UNLIMITED Partition=gpu "
    "NodeList={node} BatchHost={node} NumNodes=1 NumCPUs=1 JOB_GRES=gpu:h200:1 "
    "  Nodes={node} CPU_IDs=0 Mem=0 GRES=gpu:h200:1(IDX:{index}) MinCPUsNode=1 WorkDir=/"
)


class PretendedSlurm:
    """A controller that takes every job, starts it where it was wished, and loses answers."""

    def __init__(self, nodes: int, answer_s: float) -> None:
        self._nodes = nodes
        self._answer_s = answer_s
        self._lines: list[str] = []
        self._details: list[str] = []
        self._names: set[str] = set()
        self._random = random.Random(7)
        self.calls: Counter[str] = Counter()
        self.started_twice = 0

    def jobs(self) -> str:
        """Print all jobs as squeue does."""
        self.calls["squeue"] += 1
        return "\n".join([*self._lines, ""])

    def details(self, job_id: int | None = None) -> str:
        """Print one job or all as scontrol does."""
        self.calls["scontrol show job"] += 1
        return "\n".join(self._details if job_id is None else self._details[job_id - 1 : job_id])

    def nodes(self) -> str:
        """Print all nodes as scontrol does; their load is another each time."""
        self.calls["scontrol show node"] += 1
        return "\n".join(
            _NODE.format(name=f"n{i}", load=self._random.random()) for i in range(self._nodes)
        )

    def submit(self, job: Submission) -> int:
        """Take a job; now and then the answer is lost although it was taken."""
        self.calls["sbatch"] += 1
        time.sleep(self._answer_s)
        number = len(self._lines) + 1
        self.started_twice += job.name in self._names
        self._names.add(job.name)
        node = job.wanted_nodes[0]
        now = str(int(time.time()))
        fields = (str(number), "RUNNING", "None", "ada", now, now, node, job.name)
        self._details.append(_JOB.format(id=number, name=job.name, node=node, index=number % 8))
        self._lines.append(SEPARATOR.join(fields))
        _begin(Path(job.run_dir), number)
        if self._random.random() < _LOST_ANSWERS:
            raise UnansweredError("Socket timed out on send/recv operation")
        return number

    def cancel(self, job_id: int) -> None:
        """Count a cancel."""
        del job_id
        self.calls["cancel"] += 1


def _begin(folder: Path, number: int) -> None:
    """Leave what the node of a run that has begun writes."""
    spec = json.loads((folder / "spec.json").read_bytes())
    named = {"attempt": spec["attempt"], "token": spec["token"]}
    process = {"pid": 1, "start_ticks": 1, "boot_id": "0"}
    began = {"shim": process, "first": process, "started_at": "2026-11-30T12:00:00Z"}
    gpu = {"memory_used_bytes": 70 << 30, "utilization_percent": 97, "power_w": 640.0}
    for name, content in {
        "started": named | process | {"slurm_job": number},
        "shim.json": named | began,
        "placed.json": spec["gpus"],
        "beat-0.json": {"number": 1, "gpus": {spec["gpus"][0]["uuid"]: gpu}},
    }.items():
        (folder / name).write_text(json.dumps(content))


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
        devices.use = executor.use
        began = time.perf_counter()
        executor.apply(desired(folder / "runs", options.jobs, options.nodes))
        while slurm.calls["sbatch"] < options.jobs:  # noqa: ASYNC110 - threads count
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
        print(f"Slurm commands  {ran / options.looks:.2f} a second, {dict(slurm.calls)} in all")
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
