"""
Replay a job trace against Berth's policy and its baselines, in virtual time.

    python benchmarks/replay/run.py --trace FOLDER [--mix philly|lab] [--seeds 8] [--jobs 2000]

The policy is the very code that the server runs. Each seed draws its own jobs; the table shows
the mean of each column over the seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from baselines import baselines
from berth_policy import BerthPolicy
from engine import replay
from metrics import measure
from workload import BOX_GPUS, read_trace, sample

from berth_server.core.settings import PolicySettings


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, required=True, help="a folder of CSV files, or one")
    parser.add_argument("--mix", choices=("philly", "lab"), default="philly")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of one seed")
    parser.add_argument("--load", type=float, default=0.85, help="offered work over capacity")
    parser.add_argument("--only", help="one policy by name")
    options = parser.parse_args()
    trace = read_trace(options.trace)
    settings = PolicySettings()
    cap_s = settings.age_cap.total_seconds()
    names = [*baselines(BOX_GPUS), "berth"]
    totals: dict[str, dict[str, float]] = {name: {} for name in names}
    took = dict.fromkeys(names, 0.0)
    for seed in range(options.seeds):
        jobs = sample(trace, seed=seed, count=options.jobs, load=options.load, mix=options.mix)
        for name in names:
            if options.only not in {None, name}:
                continue
            scheduler = (
                BerthPolicy(BOX_GPUS, settings) if name == "berth" else baselines(BOX_GPUS)[name]
            )
            began = time.perf_counter()
            columns = measure(replay(jobs, scheduler, BOX_GPUS), BOX_GPUS, cap_s)
            took[name] += time.perf_counter() - began
            for column, value in columns.items():
                totals[name][column] = totals[name].get(column, 0.0) + value / options.seeds
    _print({name: row for name, row in totals.items() if row}, took)


def _print(rows: dict[str, dict[str, float]], took: dict[str, float]) -> None:
    """One column per policy: there are more figures than policies."""
    print("| hours unless said | " + " | ".join(rows) + " |")
    print("|---|" + "---:|" * len(rows))
    for column in next(iter(rows.values())):
        print(f"| {column} | " + " | ".join(f"{row[column]:.2f}" for row in rows.values()) + " |")
    print("| seconds to compute | " + " | ".join(f"{took[name]:.0f}" for name in rows) + " |")


if __name__ == "__main__":
    main()
