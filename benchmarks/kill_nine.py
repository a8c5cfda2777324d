"""
Kill -9 of server and worker at random moments: `python benchmarks/kill_nine.py --kills 1000`.

Jobs stream through the box the whole time. At the end counts what was lost, run twice, leaked
or placed on a GPU that another job held.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from box import MeasuredBox, measured_box


def main() -> None:
    """Kill, restart, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with measured_box() as box:
        marks = box.home / "marks"
        marks.touch()
        expected: dict[int, int] = {}
        unknown = 0
        for kill in range(options.kills):
            for _ in range(dice.randrange(1, 4)):
                code = dice.choice((0, 0, 0, 3))
                pause = dice.choice((0, 0.02, 0.1))
                script = f'echo "$BERTH_ATTEMPT" >> {marks}; sleep {pause}; exit {code}'
                try:
                    expected[box.submit(script=script, gpus=dice.choice((1, 2, 4)))] = code
                except (OSError, http.client.HTTPException):
                    unknown += 1  # not acknowledged: it may or may not be there
            time.sleep(dice.random() * 0.05)
            victims = dice.choice((("server",), ("worker",), ("server", "worker")))
            box.kill(*victims)
            box.start(*victims)
            if (kill + 1) % 50 == 0:
                print(f"{kill + 1} kills, {len(expected)} jobs", flush=True)
        _count(box, expected, marks, options.kills)


def _count(box: MeasuredBox, expected: dict[int, int], marks: Path, kills: int) -> None:
    jobs = box.ended(list(expected))
    ran = marks.read_text().split()
    wrong = [job["id"] for job in jobs if job["exit_code"] != expected[job["id"]]]
    missing = [job_id for job_id in expected if f"{job_id}.1" not in ran]
    twice = len(ran) - len(set(ran))
    deadline = time.monotonic() + 20
    while held := _held(box):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    print(
        f"{kills} kills, {len(expected)} acknowledged jobs: {len(missing)} lost, {twice} run twice, "
        f"{len(wrong)} with a wrong exit code, {len(held)} leases leaked, "
        f"{_collisions(jobs)} collisions"
    )


def _held(box: MeasuredBox) -> list[int]:
    _, state = box.call("GET", "/gpus")
    return [gpu["index"] for gpu in state["gpus"] if gpu["holder"]["kind"] != "free"]


def _collisions(jobs: list[dict[str, Any]]) -> int:
    """Pairs of attempts that ran on one GPU at the same time."""
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    for job in jobs:
        for attempt in job["attempts"]:
            if attempt["started_at"] and attempt["ended_at"]:
                span = tuple(
                    map(datetime.fromisoformat, (attempt["started_at"], attempt["ended_at"]))
                )
                for uuid in attempt["gpu_uuids"]:
                    spans.setdefault(uuid, []).append(span)
    found = 0
    for taken in spans.values():
        taken.sort()
        found += sum(a[1] > b[0] for a, b in pairwise(taken))
    return found


if __name__ == "__main__":
    main()
