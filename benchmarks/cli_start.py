"""
Processor and wall time of common commands, in turn with those of another tree.

    .venv/bin/python benchmarks/cli_start.py [ROUNDS] [BASE]

BASE is the top folder of another checkout; its command line speaks to the same server. Prints a
Markdown table of medians in milliseconds. Processor time also tells on a busy machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from box import MeasuredBox

BERTH = [sys.executable, "-m", "berth.cli.main"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "berth --help": [*BERTH, "--help"],
    "berth submit -- true": [*BERTH, "submit", "--gpus", "0", "--", "true"],
    "berth ls": [*BERTH, "ls"],
    "berth logs 1": [*BERTH, "logs", "1"],
    "berth gpus": [*BERTH, "gpus"],
    "berth why 1": [*BERTH, "why", "1"],
    "berth cancel 1": [*BERTH, "cancel", "1"],
}


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Return processor and wall time of a command, milliseconds."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=env, capture_output=True, check=False)
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return used * 1000, (time.perf_counter() - began) * 1000


def main() -> None:
    """Measure each command so many times, in turn, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    box = MeasuredBox("sim:2")
    box.start()
    own = {**os.environ, "BERTH_HOME": str(box.home)}
    own.pop("BERTH_URL", None)
    trees = {"here": own}
    if len(sys.argv) > 2:
        base = Path(sys.argv[2])
        folders = (base / part for part in ("server", "worker", "trainer", "clients"))
        trees["base"] = own | {"PYTHONPATH": ":".join(map(str, folders))}
    print("| command | tree | processor ms | wall ms | best wall ms |\n|---|---|---|---|---|")
    for name, command in COMMANDS.items():
        seen: dict[str, list[tuple[float, float]]] = {tree: [] for tree in trees}
        for _ in range(rounds):
            for tree, env in trees.items():
                seen[tree].append(timed(command, env))
        for tree, pairs in seen.items():
            used, wall = (statistics.median(column) for column in zip(*pairs, strict=True))
            best = min(wall for _, wall in pairs)
            print(f"| `{name}` | {tree} | {used:.0f} | {wall:.0f} | {best:.0f} |", flush=True)


if __name__ == "__main__":
    main()
