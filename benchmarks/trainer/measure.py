"""
Benchmark of the trainer: speed, stage 3 beside FSDP2, plan against peak, the 27b shape, ranks.

    python benchmarks/trainer/measure.py prepare --data FOLDER --samples FILE.npz
    python benchmarks/trainer/measure.py run --samples FILE.npz [--only speed sharded plan rejected 27b ranks large scaling]
        [--budget-s 120] [--match WORDS …] [--skip WORD …] [--out FOLDER] [--shape 4b] [--small 1b]

`prepare` needs no GPU: it encodes real dialogues (RealPersonaChat's format) once. `run` makes
every model with random weights on the GPU itself, a process for each row (in the parts
`ranks`, `large` and `scaling` one for each GPU, or `--ranks N`), the most telling first; a row that fails stands in the table
as failed, and none begins shortly before the budget ends. The table goes to stdout row by row,
everything to OUT/results.json. `--smoke` runs a tiny shape on the CPU, which shows that the
script works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gpus
from processes import Card, Processes
from results import Result, as_json
from tables import HEAD, line, summary

if TYPE_CHECKING:
    from rows import Row

BEGAN = time.perf_counter()
MOST_S = 15.0
"""No row begins that has less than this."""
PARTS = ("speed", "sharded", "plan", "27b", "rejected", "ranks", "large", "scaling")
SEVERAL = {"ranks", "large", "scaling"}
"""Parts that need more than one GPU."""


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    from dialogues import load, prepare

    if options.what == "prepare":
        prepare(options.data, options.samples, max_length=options.max_length, count=options.count)
        print(f"{options.samples}: {len(load(options.samples))} samples")
        return 0
    trouble = _settle(options)
    if trouble:
        parser.error(trouble)
    chosen = [row for row in _rows(options) if _wanted(row, options)]
    options.out.mkdir(parents=True, exist_ok=True)
    end = BEGAN + options.budget_s
    print(f"{HEAD}\n|{'---|' * 10}", flush=True)
    results: list[Result] = []
    together = options.together and gpus.size() / (1 << 30)
    card = Card(together or 1)

    def measure(row: Row) -> None:
        left = end - time.perf_counter()
        if left < MOST_S:
            print(f"| {row.part} | {row.shape} | {row.name} | not begun |{' |' * 6}", flush=True)
            return
        deadline = end - 3 - max(0.0, left - options.row_s)
        result = processes.run(row, deadline=deadline)
        if together and row.room:
            result = replace(result, tokens_per_s=0.0, of_peak=0.0)  # others took their part
        results.append(result)
        print(line(result), flush=True)
        body = json.dumps([as_json(one) for one in results], indent=1)
        (options.out / "results.json").write_text(body)

    def in_turn(row: Row) -> None:
        with card.room_for(row):
            measure(row)

    with (
        Processes(
            options.samples,
            ahead=1 if options.smoke else 3,
            sizes=[row.ranks for row in chosen],
            smoke=options.smoke,
            out=options.out / "run",
            max_length=options.max_length,
            cpu_adam=options.cpu_adam,
        ) as processes,
        ThreadPoolExecutor(3 if together else 1) as threads,
    ):
        list(threads.map(in_turn, chosen))
    summary(results)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    prepare = what.add_parser("prepare")
    prepare.add_argument("--data", type=Path, required=True)
    prepare.add_argument("--count", type=int, default=1500)
    run = what.add_parser("run")
    run.add_argument(
        "--only", nargs="*", choices=PARTS, help="default: all, ranks only with several GPUs"
    )
    run.add_argument(
        "--ranks", type=int, help="of the part of that name; default: the GPUs, 2 with --smoke"
    )
    run.add_argument(
        "--match", nargs="*", default=[], help="only rows whose shape and name have all of these"
    )
    run.add_argument("--skip", nargs="*", default=[], help="no rows that have any of these")
    run.add_argument(
        "--budget-s", type=float, default=86_400.0, help="seconds after which no step begins"
    )
    run.add_argument(
        "--row-s", type=float, default=86_400.0, help="the same for each row: none costs the others"
    )
    run.add_argument("--out", type=Path, default=Path("benchmark-trainer"))
    run.add_argument("--shape", default="4b")
    run.add_argument("--small", default="1b")
    run.add_argument("--large-cut", default="27b")
    run.add_argument("--cut-layers", type=int, help="default: what the plan says this card holds")
    run.add_argument(
        "--cpu-adam", action="store_true", help="DeepSpeed's own, built if need be (two minutes)"
    )
    run.add_argument(
        "--together",
        action="store_true",
        help="rows that need little of the card share it, untimed",
    )
    run.add_argument("--smoke", action="store_true", help="a tiny shape on the CPU")
    for one in (prepare, run):
        one.add_argument("--samples", type=Path, required=True)
        one.add_argument("--max-length", type=int, default=1024)
    return parser


def _settle(options: argparse.Namespace) -> str:
    """Fill in what depends on the machine; a sentence where it lacks what was asked for."""
    count = gpus.count()
    if options.only is None:
        options.only = [
            part for part in PARTS if part not in SEVERAL or (part == "ranks" and count > 1)
        ]
    options.ranks = options.ranks or (2 if options.smoke else count)
    several = " and ".join(sorted(SEVERAL & set(options.only)))
    if several and options.ranks < 2:
        return f"Part {several} needs at least two GPUs; leave it out of --only."
    if several and options.ranks > count and not options.smoke:
        return f"--ranks {options.ranks} is more than the GPUs here; give at most {count}."
    return ""


def _rows(options: argparse.Namespace) -> list[Row]:
    import rows
    import several
    from shapes import SHAPES

    if options.smoke:
        options.shape = options.small = options.large_cut = "tiny"
    made = {
        "speed": lambda: rows.speed(options.shape),
        "sharded": lambda: rows.sharded(
            options.shape,
            options.large_cut,
            options.cut_layers or gpus.layers_that_fit(options.large_cut, gpus=1),
        ),
        "plan": lambda: rows.plan(options.small, options.shape),
        "27b": lambda: rows.cut(
            options.large_cut,
            options.cut_layers or gpus.layers_that_fit(options.large_cut, gpus=1),
        ),
        "rejected": lambda: rows.rejected(options.shape),
        "ranks": lambda: rows.ranks(
            options.small,
            options.shape,
            options.large_cut,
            gpus.layers_that_fit(options.large_cut, gpus=options.ranks),
            options.ranks,
        ),
        "large": lambda: several.large(
            options.large_cut,
            options.cut_layers or gpus.layers_that_fit(options.large_cut, gpus=options.ranks),
            SHAPES[options.large_cut]["num_hidden_layers"],
            options.ranks,
        ),
        "scaling": lambda: several.scaling(options.shape, options.ranks),
    }
    found = [row for part in options.only for row in made[part]()]
    if options.smoke:
        small = {"pack_tokens": 1024, "max_length": 1024}
        found = [
            replace(row, training={**row.training, **(small if "pack_tokens" in row.training else {}),
                                   "gradient_accumulation_steps": 1},
                    steps=2, warm_up=1)
            for row in found
        ]  # fmt: skip
    return found


def _wanted(row: Row, options: argparse.Namespace) -> bool:
    words = f"{row.shape} {row.name}"
    return all(word in words for word in options.match) and not any(
        word in words for word in options.skip
    )


if __name__ == "__main__":
    sys.exit(main())
