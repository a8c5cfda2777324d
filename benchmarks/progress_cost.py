"""
Cost of reading the progress of eight running attempts that write 100 lines a second each.

Files and looks are those of the server: `output.log` with bars, logger lines and printed
dictionaries, `metrics.jsonl` with a point a second, looked at every two seconds. Prints the CPU
time of the looks as a share of one core. `--seconds 60 --jobs 8 --lines 100` by default.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from berth_server.service.progress.reader import AttemptReader

PERIOD_S = 2.0
TICK_S = 0.1


def line(number: int) -> bytes:
    """The text that an attempt writes next, of five kinds in turn."""
    loss = 2.0 + (number * 7919 % 1000) / 1000
    kind = number % 5
    if kind < 3:
        bar = "\N{FULL BLOCK}" * (number % 10)
        return (
            f"\r{number % 100:3}%|{bar:<10}| {number}/900000 [01:40<9:20:11, 26.7it/s, loss={loss}]"
        ).encode()
    if kind == 3:
        return f"\n2026-11-30 10:00:00,123 - INFO - train - step {number} loss {loss} lr 1e-4\n".encode()
    return f"{{'loss': '{loss}', 'grad_norm': '1.25', 'epoch': '{number / 9e5:.3f}'}}\n".encode()


def write(folders: list[Path], lines: int, seconds: float) -> None:
    """Write at an even pace into all folders until the time is over."""
    began = time.monotonic()
    number = 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * lines)
        for folder in folders:
            with (folder / "output.log").open("ab") as log:
                log.write(b"".join(line(n) for n in range(number, due)))
            if due // lines != number // lines:
                point = {"step": due, "time": time.time(), "loss": 2.0}
                with (folder / "metrics.jsonl").open("a") as metrics:
                    metrics.write(json.dumps(point) + "\n")
        number = due
        time.sleep(TICK_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--lines", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as home:
        folders = [Path(home, str(n)) for n in range(asked.jobs)]
        for folder in folders:
            folder.mkdir()
        readers = [AttemptReader(str(f), os.getuid(), "python train.py") for f in folders]
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(folders, asked.lines, asked.seconds)
        )
        writer.start()
        began, spent_s, looks, belief = time.monotonic(), 0.0, 0, None
        while writer.is_alive():
            time.sleep(PERIOD_S)
            before = time.thread_time()
            for reader in readers:
                belief = reader.look(time.time())
            spent_s += time.thread_time() - before
            looks += 1
        passed_s = time.monotonic() - began
        writer.join()
    assert belief is not None
    print(f"{asked.jobs} jobs, {asked.lines} lines/s each, {looks} looks in {passed_s:.0f} s")
    print(
        f"{spent_s / passed_s:.2%} of a core, {1000 * spent_s / looks / asked.jobs:.2f} ms a look"
    )
    print(f"believed: step {belief.position.step:,.0f} of {belief.position.total:,.0f}")


if __name__ == "__main__":
    main()
