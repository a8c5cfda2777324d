"""
Replay a job trace against Berth's policy and its baselines, in virtual time.

    python benchmarks/replay/run.py --trace FOLDER [--mix philly|lab|stretch] [--plot FILE.svg]

The policy is the very code that the server runs. Each seed draws its own jobs; the table shows
the mean of each column over the seeds. `--half` keeps to the first or second half of the trace,
to try on one what was tuned on the other.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from baselines import baselines
from berth_policy import BerthPolicy
from conservative import conservatives
from engine import Scheduler, replay
from knowledge import Knowledge
from metrics import measure
from plots import draw
from workload import BOX_GPUS, TraceJob, read_trace, sample

from berth.units import parse_duration
from berth_server.core.settings import PolicySettings


def main() -> None:
    """Print the table in Markdown."""
    options = _options()
    trace = read_trace(options.trace)
    middle = len(trace) // 2
    trace = {"first": trace[:middle], "second": trace[middle:]}.get(options.half, trace)
    settings = PolicySettings()
    if options.age_cap:
        settings = replace(settings, age_cap=parse_duration(options.age_cap))
    rows: dict[str, dict[str, float]] = {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        jobs = sample(
            trace,
            seed=seed,
            count=options.jobs,
            load=options.load,
            mix=options.mix,
            limits=options.limits,
        )
        for name, columns in _compare(jobs, settings, options).items():
            row = rows.setdefault(name, dict.fromkeys(columns, 0.0))
            for column, value in columns.items():
                row[column] += value / options.seeds
    _print(rows)
    if options.plot:
        title = f"{options.mix} mix, load {options.load}, {options.seeds} x {options.jobs} jobs"
        draw(rows, title, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, required=True, help="a folder of CSV files, or one")
    parser.add_argument("--mix", choices=("philly", "lab", "stretch"), default="philly")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of one seed")
    parser.add_argument("--load", type=float, default=0.85, help="offered work over capacity")
    parser.add_argument("--half", choices=("first", "second"), help="of the trace only")
    parser.add_argument("--limits", choices=("modal", "none"), default="modal")
    parser.add_argument("--age-cap", help="instead of the default, like 14d")
    parser.add_argument("--conservative", action="store_true", help="compare those as well")
    parser.add_argument(
        "--true-lengths", action="store_true", help="tell Berth's policy how long jobs will run"
    )
    parser.add_argument(
        "--progress",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of the running jobs, 0 to 1, that tell how far they are",
    )
    parser.add_argument(
        "--queued-known",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of the queued jobs, 0 to 1, whose lengths are known within 30 percent",
    )
    parser.add_argument("--only", help="one policy by name")
    parser.add_argument("--plot", type=Path, help="write the main figures as SVG")
    return parser.parse_args()


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("write a share from 0 to 1.")
    return share


def _compare(
    jobs: list[TraceJob], settings: PolicySettings, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """All policies on the same jobs."""
    schedulers: dict[str, Scheduler] = {**baselines(BOX_GPUS)}
    if options.conservative:
        schedulers |= conservatives(BOX_GPUS)
    schedulers["berth"] = BerthPolicy(
        BOX_GPUS,
        settings,
        true_lengths=options.true_lengths,
        knowledge=Knowledge(progress=options.progress, queued=options.queued_known),
    )
    cap_s = settings.age_cap.total_seconds()
    found: dict[str, dict[str, float]] = {}
    for name, scheduler in schedulers.items():
        if options.only in {None, name}:
            began = time.process_time()
            columns = measure(replay(jobs, scheduler, BOX_GPUS), BOX_GPUS, cap_s)
            seconds = time.process_time() - began
            found[name] = {**columns, "CPU seconds to compute": seconds}
    return found


def _print(rows: dict[str, dict[str, float]]) -> None:
    """One column per policy: there are more figures than policies."""
    print("| hours unless said | " + " | ".join(rows) + " |")
    print("|---|" + "---:|" * len(rows))
    for column in next(iter(rows.values())):
        print(f"| {column} | " + " | ".join(f"{row[column]:.2f}" for row in rows.values()) + " |")


if __name__ == "__main__":
    main()
