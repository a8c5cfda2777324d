"""
Latency from a job's write to a follower, and the cost of followers for a fast writer.

    .venv/bin/python benchmarks/log_follow.py [--lines 500] [--mib 1000]

The job is a small compiled program. Each line holds the clock at its write; the follower is the
SDK's. The fast writer fills its log at its own pace, alone and then with a follower, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import berth

sys.path.insert(0, str(Path(__file__).parent))
from box import MeasuredBox, measured_box, percentile

# `write N PAUSE_US`: N lines with the clock in nanoseconds. `flood MIB RATE`: so many MiB in
# 64 KiB writes at RATE MiB/s, then the seconds that the writes themselves took.
WRITER_C = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
int main(int argc, char **argv) {
    long count = atol(argv[2]), number = atol(argv[3]);
    if (!strcmp(argv[1], "write")) {
        sleep(1); /* until the follower is there */
        for (long i = 0; i < count; i++) {
            char line[64];
            int size = snprintf(line, sizeof line, "t %lld\n", now());
            if (write(1, line, size) != size) return 1;
            usleep(number);
        }
        return 0;
    }
    static char block[65536];
    memset(block, 'x', sizeof block);
    for (int i = 99; i < (int)sizeof block; i += 100) block[i] = '\n';
    long long began = now(), busy = 0;
    for (long i = 0; i < count * 16; i++) {
        long long before = now();
        if (write(1, block, sizeof block) != sizeof block) return 1;
        busy += now() - before;
        long long due = began + (long long)(i + 1) * 1000000000LL / (16 * number);
        long long left = due - now();
        if (left > 0) usleep(left / 1000);
    }
    fprintf(stderr, "\ntook %.6f busy %.6f\n", (now() - began) / 1e9, busy / 1e9);
    return 0;
}
"""
_RATE_MIB_S = 100


def main() -> None:
    """Measure both and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--mib", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, measured_box() as box:
        source, program = Path(folder) / "writer.c", Path(folder) / "writer"
        source.write_text(WRITER_C)
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        _latency(box, program, options.lines)
        _slowdown(box, program, options.mib, options.rounds)


def _client(box: MeasuredBox) -> berth.Client:
    return berth.Client(f"unix://{box.home}/run/berth.sock")


def _latency(box: MeasuredBox, program: Path, lines: int) -> None:
    times: list[float] = []
    job = box.submit(command=[str(program), "write", str(lines), "20000"], gpus=0)
    rest = b""
    with _client(box) as client:
        for piece in client.follow_log(job):
            seen = time.time_ns()
            *whole, rest = (rest + piece.data).split(b"\n")
            times += [(seen - int(line[2:])) / 1e6 for line in whole if line.startswith(b"t ")]
    print(f"line to follower  p50 {percentile(times, 0.5):.1f} ms  p99 {percentile(times, 0.99):.1f}"
          f" ms  ({len(times)} lines, 50 a second)")  # fmt: skip


def _slowdown(box: MeasuredBox, program: Path, mib: int, rounds: int) -> None:
    """Seconds spent in write() at 100 MiB/s, without and with a follower."""
    took: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(rounds):
        for followed in (False, True):
            took[followed].append(_flood(box, program, mib, followed=followed))
    for followed, label in ((False, "no follower"), (True, "one follower")):
        total = statistics.median(one[0] for one in took[followed])
        busy = statistics.median(one[1] for one in took[followed])
        print(f"{mib} MiB at {_RATE_MIB_S} MiB/s, {label}  {total:.3f} s in all,"
              f" {busy:.3f} s of it in write()  (median of {rounds})")  # fmt: skip


def _flood(box: MeasuredBox, program: Path, mib: int, *, followed: bool) -> tuple[float, float]:
    job = box.submit(command=[str(program), "flood", str(mib), str(_RATE_MIB_S)], gpus=0)
    if followed:
        threading.Thread(target=_read_all, args=(box, job), daemon=True).start()
    box.ended([job], poll_s=0.2)
    with _client(box) as client:
        last = client.log_lines(job, first=-1, count=1).lines[-1].split()
    (box.home / "runs" / str(job) / "1" / "output.log").unlink()
    return float(last[1]), float(last[3])


def _read_all(box: MeasuredBox, job: int) -> None:
    with _client(box) as client:
        for _ in client.follow_log(job):
            pass


if __name__ == "__main__":
    main()
