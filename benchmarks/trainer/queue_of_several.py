"""
The queue on a box with several GPUs: two runs side by side, and a run that loses a rank.

    python benchmarks/trainer/queue_of_several.py --gpus N [--rehearse]

Two jobs of the bundled trainer take half the GPUs each. Every 50 ms the driver is asked which
processes are on each GPU: none may be on one of the other job's. Then a rank of a job on all GPUs is
killed with -9, and the time is taken until the job has ended and until its GPUs are free.
`--rehearse`: on simulated GPUs, where processes are told by the GPUs that they were given.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from box import MeasuredBox, measured_box

PERIOD_S = 0.05
ENDED = {"succeeded", "failed", "cancelled"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="berth-several-"))
    from berth_trainer import demo_workspace

    demo_workspace.make(folder)
    with measured_box(f"sim:{options.gpus}" if options.rehearse else "nvml") as box:
        good = side_by_side(box, folder, options.gpus, rehearsed=options.rehearse)
        lost_rank(box, folder, options.gpus)
    return 0 if good else 1


def side_by_side(box: MeasuredBox, folder: Path, gpus: int, *, rehearsed: bool) -> bool:
    """Return whether both ran at once and no process was on a GPU of the other job's."""
    half = gpus // 2
    jobs = [submit(box, folder, name, half, steps=60) for name in ("left", "right")]
    look = _given if rehearsed else _on_the_driver()
    seen: dict[int, set[int]] = {job: set() for job in jobs}
    over, samples, together = threading.Event(), 0, 0
    waiter = threading.Thread(target=lambda: (box.ended(jobs, poll_s=0.2), over.set()))
    waiter.start()
    while not over.is_set():
        began = time.perf_counter()
        now = look()
        for job, places in now.items():
            if job in seen:
                seen[job] |= places
        samples, together = samples + 1, together + (len(now.keys() & seen.keys()) == len(jobs))
        time.sleep(max(0.0, PERIOD_S - (time.perf_counter() - began)))
    waiter.join()
    states = [box.call("GET", f"/jobs/{job}")[1]["state"] for job in jobs]
    shared = seen[jobs[0]] & seen[jobs[1]]
    for job, state in zip(jobs, states, strict=True):
        print(f"job {job}: {state}, its processes on GPUs {sorted(seen[job])}", flush=True)
    print(f"{samples} looks, {together} with both on GPUs; GPUs of both: {sorted(shared) or 'none'}", flush=True)  # fmt: skip
    return states == ["succeeded"] * 2 and together > 0 and not shared


def lost_rank(box: MeasuredBox, folder: Path, gpus: int) -> None:
    """Kill one rank of a job on all GPUs, and say when the job and its GPUs are over."""
    job = submit(box, folder, "loses", gpus, steps=100_000)
    metrics = folder / "loses" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.2)
        if box.call("GET", f"/jobs/{job}")[1]["state"] in ENDED:
            print(f"job {job} ended before its first step", flush=True)
            return
    victim = next(pid for pid, variables in _of_jobs() if variables.get("RANK") == "1")
    os.kill(victim, signal.SIGKILL)
    killed = time.perf_counter()
    ended = free = None
    while free is None and time.perf_counter() - killed < 60:
        if ended is None and box.call("GET", f"/jobs/{job}")[1]["state"] in ENDED:
            ended = time.perf_counter() - killed
        holders = [gpu["holder"]["job_id"] for gpu in box.call("GET", "/gpus")[1]["gpus"]]
        if ended is not None and not any(holders):
            free = time.perf_counter() - killed
        time.sleep(PERIOD_S)
    print(f"rank 1 killed: job ended after {_s(ended)}, GPUs free after {_s(free)}", flush=True)


def submit(box: MeasuredBox, folder: Path, name: str, gpus: int, *, steps: int) -> int:
    """Submit a run of the demo model on so many GPUs under deepspeed."""
    config = folder / f"{name}.json"
    model, corpus = folder / "model", folder / "data" / "realpersonachat"
    config.write_text(json.dumps({
        "model": {"path": str(model)}, "data": {"train_path": str(corpus), "max_eval_samples": 4},
        "training": {"max_length": 128, "eval_steps": 0, "save_steps": 0, "logging_steps": 1,
                     "learning_rate": 1e-3},
        "deepspeed": {"stage": 3, "offload_optimizer": "none", "offload_param": "none"},
    }))  # fmt: skip
    command = (
        f"deepspeed --num_gpus={gpus} train_deepspeed.py --config {config} "
        f"--output_dir {folder / name} --max_steps {steps}"
    )
    kept = ("NCCL_", "TORCH_", "NVSHMEM_", "OMP_")
    env = {key: value for key, value in os.environ.items() if key.startswith(kept)}
    return box.submit(command=command, workdir=str(folder), env=env)


def _of_jobs() -> list[tuple[int, dict[str, str]]]:
    """Return pid and environment of each process that trains in a job."""
    found: list[tuple[int, dict[str, str]]] = []
    for process in psutil.process_iter():
        try:
            variables = process.environ()
        except psutil.Error:
            continue
        if "BERTH_JOB_ID" in variables and "RANK" in variables:
            found.append((process.pid, variables))
    return found


def _given() -> dict[int, set[int]]:
    """Return the GPUs that each job's processes were given."""
    found: dict[int, set[int]] = {}
    for _, variables in _of_jobs():
        places = variables.get("BERTH_GPU_INDICES", "")
        found.setdefault(int(variables["BERTH_JOB_ID"]), set()).update(
            int(place) for place in places.split(",") if place
        )
    return found


def _on_the_driver() -> Any:
    """Return a function: the GPUs on which each job's processes are, by the driver."""
    import pynvml

    pynvml.nvmlInit()
    gpus = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
    jobs: dict[int, int] = {}

    def look() -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for place, gpu in enumerate(gpus):
            for running in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu):
                job = jobs.get(running.pid) or _job_of(running.pid)
                if job:
                    jobs[running.pid] = job
                    found.setdefault(job, set()).add(place)
        return found

    return look


def _job_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).environ().get("BERTH_JOB_ID", 0))
    except psutil.Error:
        return 0


def _s(seconds: float | None) -> str:
    return "more than 60 s" if seconds is None else f"{seconds:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
