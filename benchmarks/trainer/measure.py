"""
What the trainer reaches on this machine: speed, plan against peak, the 27b shape.

    python benchmarks/trainer/measure.py prepare --data FOLDER --samples FILE.npz
    python benchmarks/trainer/measure.py run --samples FILE.npz [--only speed plan rejected 27b]
        [--budget-s 120] [--match WORDS …] [--skip WORD …] [--out FOLDER] [--shape 4b] [--small 1b]

`prepare` needs no GPU: it encodes real dialogues (RealPersonaChat's format) once. `run` makes
every model with random weights on the GPU itself, a process for each row, the most telling
first; a row that fails stands in the table as failed, and none begins shortly before the budget
ends. The table goes to stdout row by row, everything to OUT/results.json. `--smoke` runs a
tiny shape on the CPU, which shows that the script works.
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

from processes import Card, Processes

if TYPE_CHECKING:
    from rows import Row
    from runner import Result

BEGAN = time.perf_counter()
MOST_S = 15.0
"""No row begins that has less than this."""
PARTS = ("speed", "plan", "27b", "rejected")
HEAD = "| part | model | what | tokens/s | of 790 TFLOP/s | allocated GiB | reserved | plan | off | s |"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    from dialogues import load, prepare

    if options.what == "prepare":
        prepare(options.data, options.samples, max_length=options.max_length, count=options.count)
        print(f"{options.samples}: {len(load(options.samples))} samples")
        return 0
    from runner import as_json

    chosen = [row for row in _rows(options) if _wanted(row, options)]
    options.out.mkdir(parents=True, exist_ok=True)
    end = BEGAN + options.budget_s
    print(f"{HEAD}\n|{'---|' * 10}", flush=True)
    results: list[Result] = []
    together = options.together and _card_bytes() / (1 << 30)
    card = Card(together or 1)

    def measure(row: Row) -> None:
        if end - time.perf_counter() < MOST_S:
            print(f"| {row.part} | {row.shape} | {row.name} | not begun |{' |' * 6}", flush=True)
            return
        result = processes.run(row, deadline=end - 3)
        if together and row.room:
            result = replace(result, tokens_per_s=0.0, of_peak=0.0)  # others took their part
        results.append(result)
        print(_line(result), flush=True)
        body = json.dumps([as_json(one) for one in results], indent=1)
        (options.out / "results.json").write_text(body)

    def in_turn(row: Row) -> None:
        with card.room_for(row):
            measure(row)

    with (
        Processes(
            options.samples,
            ahead=1 if options.smoke else 3,
            smoke=options.smoke,
            out=options.out / "run",
            max_length=options.max_length,
            cpu_adam=options.cpu_adam,
        ) as processes,
        ThreadPoolExecutor(3 if together else 1) as threads,
    ):
        list(threads.map(in_turn, chosen))
    _summary(results)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    prepare = what.add_parser("prepare")
    prepare.add_argument("--data", type=Path, required=True)
    prepare.add_argument("--count", type=int, default=1500)
    run = what.add_parser("run")
    run.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    run.add_argument(
        "--match", nargs="*", default=[], help="only rows whose shape and name have all of these"
    )
    run.add_argument("--skip", nargs="*", default=[], help="no rows that have any of these")
    run.add_argument("--budget-s", type=float, default=86_400.0)
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


def _rows(options: argparse.Namespace) -> list[Row]:
    import rows

    if options.smoke:
        options.shape = options.small = options.large_cut = "tiny"
    layers = options.cut_layers or _layers_that_fit(options.large_cut)
    made = {
        "speed": rows.speed(options.shape),
        "plan": rows.plan(options.small, options.shape),
        "27b": rows.cut(options.large_cut, layers),
        "rejected": rows.rejected(options.shape),
    }
    found = [row for part in options.only for row in made[part]]
    if options.smoke:
        small = {"pack_tokens": 1024, "max_length": 1024}
        found = [
            replace(row, training={**row.training, **(small if "pack_tokens" in row.training else {}),
                                   "gradient_accumulation_steps": 1},
                    steps=2, warm_up=1)
            for row in found
        ]  # fmt: skip
    return found


def _layers_that_fit(shape: str) -> int:
    """How many layers of the large shape this card holds by the plan, with fp32 states."""
    from shapes import config_of

    from berth_trainer.memory import Budget, Setup, estimate, read_shape

    total = _card_bytes()
    setup = Setup(stage=1, loss="chunked", chunk_tokens=512, fused=True, tokens=4096)
    fitting = [
        depth
        for depth in range(1, config_of(shape).num_hidden_layers + 1)
        if Budget(gpu=total, host=1 << 50).fits(
            estimate(read_shape(config_of(shape, depth).to_dict()), setup)
        )
    ]
    return max(fitting, default=1)


def _card_bytes() -> int:
    """As CUDA has it. Asked of the driver: a CUDA context of this process would take its own."""
    import pynvml

    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
        memory = pynvml.nvmlDeviceGetMemoryInfo(card, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError:
        return 80 << 30
    return int(memory.total) - int(memory.reserved)


def _wanted(row: Row, options: argparse.Namespace) -> bool:
    told = f"{row.shape} {row.name}"
    return all(word in told for word in options.match) and not any(
        word in told for word in options.skip
    )


def _line(r: Result) -> str:
    head = f"| {r.row.part} | {r.row.shape} | {r.row.name} |"
    if r.failure and not r.tokens_per_s:
        return f"{head} {r.failure.replace('|', '/')} |" + " |" * 2 + f" {r.allocated or ''} | {r.reserved or ''} | {r.plan:.1f} | | {r.seconds} |"  # fmt: skip
    off = f"{r.off:+.1f} %" if r.allocated else ""
    speed = f"{r.tokens_per_s:,.0f}" if r.tokens_per_s else ""
    share = f"{r.of_peak:.1%}" if r.of_peak else ""
    note = f" ({r.failure.replace('|', '/')})" if r.failure else ""
    return (
        f"{head} {speed}{note} | {share} | {r.allocated or ''} "
        f"| {r.reserved or ''} | {r.plan:.1f} | {off} | {r.seconds} |"
    )


def _summary(results: list[Result]) -> None:
    """What the table says in a few lines."""
    planned = [r for r in results if r.allocated and not r.failure and r.row.trainer == "berth"]
    if planned:
        offs = [r.off for r in planned]
        print(
            f"\nplan against allocated peak: {len(offs)} runs, {min(offs):+.1f} to {max(offs):+.1f} %, "
            f"{sum(abs(off) <= 5 for off in offs)} within 5 %, "
            f"{sum(off < -3 for off in offs)} below by more than 3 %"
        )
    ours = [r for r in results if r.row.trainer == "berth"]
    memory = [r for r in ours if "OutOfMemory" in r.failure]
    accepted = [r for r in memory if r.plan_fits]
    print(f"out of memory: {len(memory)}, of them accepted by the plan: {len(accepted)}")
    deep = [r for r in results if r.row.part == "27b" and r.allocated]
    if len(deep) == 2 and deep[0].row.layers != deep[1].row.layers:
        layers = deep[0].row.layers - deep[1].row.layers
        true, plan = ((a - b) / layers for a, b in ((deep[0].allocated, deep[1].allocated),
                                                    (deep[0].plan, deep[1].plan)))  # fmt: skip
        print(f"one layer of the large shape: {true:.2f} GiB, by the plan {plan:.2f}")
    speeds = {r.row.name: r.tokens_per_s for r in results if r.row.part == "speed"}
    recipe = next((v for name, v in speeds.items() if "recipe" in name and v), 0.0)
    best = max((v for name, v in speeds.items() if "auto plan" in name), default=0.0)
    if best:
        times = f", {best / recipe:.0f} times the users' recipe" if recipe else ""
        print(f"best auto plan: {best:,.0f} tokens/s{times}")
    for result in results:
        for sentence in result.told if result.row.part == "speed" else ():
            print(f"- {result.row.name}: {sentence}")


if __name__ == "__main__":
    sys.exit(main())
