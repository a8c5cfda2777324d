"""`python -m berth_trainer.memory MODEL`: what fits on how many cards, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

from berth_trainer.memory.estimate import GIB, Setup
from berth_trainer.memory.plan import Budget, Row, choose, plan
from berth_trainer.memory.shape import ModelShape, ShapeError, read_shape

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GiB|GB|G)?", re.IGNORECASE)


def main(arguments: list[str] | None = None) -> int:
    """Print the plan; 0 when something fits, 1 when nothing does, 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        shape = read_shape(options.model)
    except ShapeError as error:
        print(error, file=sys.stderr)
        return 2
    base = Setup(gpus=options.gpus, stage=options.stage, states=options.states)
    budget = Budget(gpu=options.gpu_memory, host=options.host_memory or _host_memory())
    lengths = (options.max_length,) if options.max_length else (1024, 2048, 4096, 8192)
    rows = plan(shape, budget, base, lengths=lengths, step_tokens=options.step_tokens)
    chosen = choose(rows)
    if options.json:
        print(json.dumps(_as_json(shape, budget, rows, chosen), indent=2))
    else:
        _print(shape, budget, base, rows, chosen)
    return 0 if chosen else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m berth_trainer.memory", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a model, or its config.json")
    parser.add_argument("--gpus", type=int, default=1, help="how many cards (default 1)")
    parser.add_argument(
        "--gpu-memory",
        type=_bytes,
        default=int(79.6 * GIB),
        help="of each card, like 80GB or 40GiB",
    )
    parser.add_argument("--host-memory", type=_bytes, help="of the box (default: of this one)")
    parser.add_argument("--stage", type=int, choices=(0, 1, 2, 3), default=3, help="ZeRO stage")
    parser.add_argument(
        "--states", choices=("fp32", "bf16"), default="fp32", help="optimizer states"
    )
    parser.add_argument("--max-length", type=int, help="tokens of a sample (default: several)")
    parser.add_argument(
        "--step-tokens", type=int, default=32_768, help="tokens per optimizer step and card"
    )
    parser.add_argument("--json", action="store_true", help="every row, for programs")
    return parser


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write like 80GB or 40GiB")
    unit = 10**9 if text.strip().lower().endswith("gb") else GIB
    return int(float(match.group(1)) * unit)


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _print(
    shape: ModelShape, budget: Budget, base: Setup, rows: list[Row], chosen: Row | None
) -> None:
    print(
        f"{shape.kind}: {shape.parameters / 1e9:.2f} billion parameters, ZeRO stage {base.stage} "
        f"on {base.gpus} card(s) of {budget.gpu / GIB:.1f} GiB, host {budget.host / GIB:.0f} GiB"
    )
    print(f"{'':2}{'length':>7} {'batch':>5}  {'offload':<16} {'ckpt':<5}{'loss':<8}"
          f"{'GPU GiB':>8} {'host GiB':>9}  verdict")  # fmt: skip
    for row in _best_per_choice(rows):
        mark = "→ " if row is chosen else "  "
        print(
            f"{mark}{row.length:>7} {row.micro_batch:>5}  {_offload(row.setup):<16} "
            f"{'on' if row.setup.checkpointing else 'off':<5}{row.setup.loss:<8}"
            f"{row.need.gpu / GIB:>8.1f} {row.need.host / GIB:>9.0f}  "
            f"{'fits' if row.fits else 'does not fit'}"
        )
    if chosen is None:
        print("Nothing fits: use more cards, a shorter max_length, or --states bf16.")
    else:
        parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in chosen.need.parts.items())
        print(f"Chosen (→), the fastest that leaves 5 % free. Of its peak, GiB: {parts}.")


def _best_per_choice(rows: list[Row]) -> list[Row]:
    """For each length, offload and checkpointing the largest batch that fits, else the least."""
    best: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (row.length, _offload(row.setup), row.setup.checkpointing)
        rank = (row.fits, row.micro_batch if row.fits else -row.need.gpu)
        held = best.get(key)
        if held is None or rank > (held.fits, held.micro_batch if held.fits else -held.need.gpu):
            best[key] = row
    return [row for row in rows if any(row is one for one in best.values())]


def _offload(setup: Setup) -> str:
    if setup.offload_param:
        return "optimizer+params"
    return "optimizer" if setup.offload_optimizer else "none"


def _as_json(
    shape: ModelShape, budget: Budget, rows: list[Row], chosen: Row | None
) -> dict[str, object]:
    return {
        "model": asdict(shape),
        "budget": asdict(budget),
        "chosen": None if chosen is None else asdict(chosen),
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
