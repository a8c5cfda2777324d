"""
Dispatch latency and throughput of no-op jobs. `python benchmarks/dispatch.py`.

A small compiled program is the job; its first instruction notes the clock, so Python's own
start does not count. Prints one line per figure of docs/performance.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from box import MeasuredBox, measured_box, percentile

# Writes its CLOCK_REALTIME in nanoseconds to the file named by its argument.
STAMP_C = r"""
#include <stdio.h>
#include <time.h>
int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    FILE *out = fopen(argv[1], "w");
    fprintf(out, "%lld", now.tv_sec * 1000000000LL + now.tv_nsec);
    fclose(out);
    return 0;
}
"""


def main() -> None:
    """Measure everything in one run."""
    os.environ["BERTH_JOBS_PER_SUBMIT"] = "10000"
    folder = Path(tempfile.mkdtemp(prefix="berth-stamp-"))
    try:
        program = _compile(folder)
        with measured_box() as box:
            _submit_to_first_instruction(box, program, folder)
            _end_to_next_start(box, program, folder)
            _submits(box)
        with measured_box() as box:
            _list_of_jobs(box)
        with measured_box() as box:
            _through(box)
        with measured_box() as box:
            _idle(box)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compile(folder: Path) -> Path:
    (folder / "stamp.c").write_text(STAMP_C)
    subprocess.run(["cc", "-O1", "-o", folder / "stamp", folder / "stamp.c"], check=True)
    return folder / "stamp"


def _submit_to_first_instruction(box: MeasuredBox, program: Path, folder: Path) -> None:
    times: list[float] = []
    for number in range(220):
        out = folder / f"first-{number}"
        began = time.time_ns()
        job = box.submit(command=[str(program), str(out)], gpus=1)
        while not (out.exists() and out.stat().st_size):
            time.sleep(0.0005)
        times.append((int(out.read_text()) - began) / 1e6)
        box.ended([job], poll_s=0.005)
    times = times[20:]
    print(f"submit to first instruction  p50 {percentile(times, 0.5):.1f} ms"
          f"  p99 {percentile(times, 0.99):.1f} ms  ({len(times)} jobs)")  # fmt: skip


def _end_to_next_start(box: MeasuredBox, program: Path, folder: Path) -> None:
    """Jobs that take the whole box, one after the other: start to start of a no-op."""
    count = 60
    jobs = [
        box.submit(command=[str(program), str(folder / f"next-{n}")], gpus=8) for n in range(count)
    ]
    box.ended(jobs)
    stamps = sorted(int((folder / f"next-{n}").read_text()) for n in range(count))
    gaps = [(b - a) / 1e6 for a, b in pairwise(stamps)][5:]
    print(f"start to next start, 8 GPUs  p50 {percentile(gaps, 0.5):.1f} ms"
          f"  p99 {percentile(gaps, 0.99):.1f} ms  (a no-op's run included)")  # fmt: skip


def _submits(box: MeasuredBox) -> None:
    count = 1000
    began = time.perf_counter()
    for _ in range(count):
        box.submit(command=["true"], gpus=1, hold=True)
    print(f"acknowledged submits, one at a time  {count / (time.perf_counter() - began):.0f}/s")


def _list_of_jobs(box: MeasuredBox) -> None:
    specs = [{"command": ["true"], "gpus": 1, "hold": True, "workdir": "/"} for _ in range(10_000)]
    began = time.perf_counter()
    status, body = box.call("POST", "/jobs", specs)
    took = time.perf_counter() - began
    print(f"the same in one list  {len(specs) / took:.0f}/s  (status {status})")
    times: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        box.call("GET", "/jobs?limit=100")
        times.append((time.perf_counter() - began) * 1e3)
    print(f"a page of 100 among {len(body['ids'] if isinstance(body, dict) else body)} jobs  "
          f"p50 {percentile(times, 0.5):.1f} ms")  # fmt: skip


def _through(box: MeasuredBox) -> None:
    count = 500
    specs = [{"command": ["/bin/true"], "gpus": 1, "workdir": "/"} for _ in range(count)]
    began = time.perf_counter()
    box.call("POST", "/jobs", specs)
    while box.call("GET", "/jobs/counts")[1]["counts"]["succeeded"] < count:
        time.sleep(0.02)
    print(f"no-op jobs through 8 GPUs  {count / (time.perf_counter() - began):.0f}/s")


def _idle(box: MeasuredBox) -> None:
    import psutil

    processes = [psutil.Process(daemon.pid) for daemon in box.daemons.values()]
    processes += [child for process in processes for child in process.children(recursive=True)]
    time.sleep(5)
    began, cpu = time.monotonic(), sum(sum(p.cpu_times()[:2]) for p in processes)
    time.sleep(30)
    used = sum(sum(p.cpu_times()[:2]) for p in processes) - cpu
    memory = sum(p.memory_info().rss for p in processes)
    print(f"idle  {100 * used / (time.monotonic() - began):.2f} % of a core"
          f"  {memory / 2**20:.0f} MiB resident in {len(processes)} processes")  # fmt: skip


if __name__ == "__main__":
    main()
