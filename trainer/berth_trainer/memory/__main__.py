"""`python -m berth_trainer.memory MODEL`: what fits on how many cards, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

from berth_trainer.memory.estimate import GIB, Setup
from berth_trainer.memory.search import MARGIN, STAGES, Budget, Row, choose, plan
from berth_trainer.memory.shape import ModelShape, ShapeError, read_shape

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GiB|GB|G)?", re.IGNORECASE)


def main(arguments: list[str] | None = None) -> int:
    """Print the plan; 0 when something fits, 1 when nothing does, 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.four_bit and not options.lora:
        parser.error("--four-bit needs --lora R: weights in 4 bits stay frozen")
    try:
        shape = read_shape(options.model)
    except ShapeError as error:
        print(f"berth: {error}", file=sys.stderr)
        return 2
    budget = Budget(gpu=options.gpu_memory, host=options.host_memory or _host_memory())
    base = _base(options, shape)
    lengths = (options.max_length,) if options.max_length else (1024, 2048, 4096, 8192)
    stages = STAGES if options.stage is None else (options.stage,)
    rows = plan(
        shape, budget, base, lengths=lengths, stages=stages, step_tokens=options.step_tokens
    )
    chosen = choose(rows)
    if options.json:
        print(json.dumps(_as_json(shape, budget, rows, chosen), indent=2))
    else:
        _print(shape, budget, rows, chosen)
    return 0 if chosen else 1


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence, as every `berth` verb does."""

    def error(self, message: str) -> NoReturn:
        print(f"berth: {message.rstrip('.')}. See `berth plan --help`.", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m berth_trainer.memory", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, help="folder of a model, or its config.json")
    add("--gpus", type=int, default=1, help="how many cards (default 1)")
    add(
        "--gpu-memory",
        type=_bytes,
        default=int(79.6 * GIB),
        help="of each card, like 80GB or 40GiB",
    )
    add("--host-memory", type=_bytes, help="of the box (default: of this one)")
    add("--stage", type=int, choices=(0, 1, 2, 3), help="ZeRO stage (default: 1 to 3)")
    add("--states", choices=("fp32", "bf16", "8bit"), default="fp32", help="optimizer states")
    add("--lora", type=int, default=0, metavar="R", help="rank of LoRA adapters (default: none)")
    add("--four-bit", action="store_true", help="with --lora: frozen weights in 4 bits")
    add("--stock", action="store_true", help="without the trainer's own loss and layers")
    add("--max-length", type=int, help="tokens of a sample or packed row (default: several)")
    add("--step-tokens", type=int, default=32_768, help="tokens per optimizer step and card")
    add("--json", action="store_true", help="every row, for programs")
    return parser


def _base(options: argparse.Namespace, shape: ModelShape) -> Setup:
    base = Setup(gpus=options.gpus, states=options.states)
    if not options.stock:
        base = replace(base, loss="chunked", chunk_tokens=512, fused=True, compiled=True)
    if options.lora:
        trained = shape.adapter_parameters(options.lora)
        base = replace(base, lora_parameters=trained, four_bit=options.four_bit, stage=1)
    return base


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write like 80GB or 40GiB")
    unit = 10**9 if text.strip().lower().endswith("gb") else GIB
    return int(float(match.group(1)) * unit)


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _print(shape: ModelShape, budget: Budget, rows: list[Row], chosen: Row | None) -> None:
    setup = rows[0].setup
    cards = "1 card" if setup.gpus == 1 else f"{setup.gpus} cards"
    print(
        f"{shape.kind}: {shape.parameters / 1e9:.2f} billion parameters on {cards} of "
        f"{budget.gpu / GIB:.1f} GiB, host {budget.host / GIB:.0f} GiB, optimizer states "
        f"{setup.states}{'' if setup.lora_parameters is None else ', LoRA'}"
    )
    print(f"{'':2}{'length':>7} {'batch':>5} {'stage':>5}  {'offload':<16} {'recomputed':<11}"
          f"{'GPU GiB':>8} {'host GiB':>9} {'tokens/s':>9}  verdict")  # fmt: skip
    for row in _best_per_choice(rows):
        mark = "→ " if row is chosen else "  "
        print(
            f"{mark}{row.length:>7} {row.micro_batch:>5} {row.setup.stage:>5}  "
            f"{_offload(row.setup):<16} {_recomputed(row.setup, shape.layers):<11}"
            f"{row.need.gpu / GIB:>8.1f} {row.need.host / GIB:>9.0f} {row.tokens_per_s:>9,.0f}  "
            f"{row.verdict}"
        )
    if chosen is None:
        print("Nothing fits: use more cards, a shorter --max-length, --lora 16 or --states bf16.")
        return
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in chosen.need.parts.items())
    print(
        f"Chosen (→): the fastest that leaves {MARGIN:.0%} of a card free. Its peak in GiB: {parts}."
    )
    print("Tokens/s are a rough model of an H100-class card, good for comparing the rows.")


def _best_per_choice(rows: list[Row]) -> list[Row]:
    """For each length, stage, offload and checkpointing the fastest that fits, else the least."""
    best: dict[tuple[object, ...], Row] = {}
    for row in rows:
        setup = row.setup
        key = (row.length, setup.stage, _offload(setup), setup.checkpointing)
        rank = (row.fits, row.tokens_per_s if row.fits else -row.need.gpu)
        held = best.get(key)
        if held is None or rank > (held.fits, held.tokens_per_s if held.fits else -held.need.gpu):
            best[key] = row
    return [row for row in rows if any(row is one for one in best.values())]


def _recomputed(setup: Setup, layers: int) -> str:
    again = setup.recomputed(layers)
    return "none" if not again else "all" if again == layers else f"{again} of {layers}"


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


def _piped() -> int:
    """`main`, quiet when nobody reads on (`berth plan … | head`)."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end; that goes nowhere now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(_piped())
