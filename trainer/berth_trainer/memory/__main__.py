"""
`berth plan MODEL`: which set-ups of a model fit into the memory of so many GPUs.

Needs only the model's config.json. For every ZeRO stage, offload, length and micro-batch a row with
its peak memory and expected speed; the arrow marks the fastest that fits. Exit code 1 when nothing
fits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from berth_trainer.memory.estimate import Setup, setup_json
from berth_trainer.memory.search import LENGTHS, MARGIN, STAGES, Budget, Row, choose, plan
from berth_trainer.memory.shape import ModelShape, ShapeError, read_shape
from berth_trainer.memory.sizes import GIB, host_memory, is_decimal, parse_size

_GPU_MEMORY = "79.6GiB"
"""Of a GPU that is sold as 80 GB, as nvidia-smi shows it."""


def main(arguments: list[str] | None = None) -> int:
    """Print the plan; 0 when something fits, 1 when nothing does, 2 for bad input."""
    parser = options_parser()
    options = parser.parse_args(arguments)
    if options.four_bit and not options.lora:
        parser.error("--four-bit needs --lora R: weights in 4 bits stay frozen")
    if options.four_bit and options.stage == 3:
        parser.error(
            "--four-bit needs a ZeRO stage below 3: weights in 4 bits cannot be partitioned"
        )
    if options.gpus % options.nodes:
        parser.error(
            f"--gpus {options.gpus} cannot be spread evenly over {options.nodes} nodes; give a "
            "multiple"
        )
    try:
        shape = read_shape(options.model)
    except ShapeError as error:
        print(f"berth: {error}", file=sys.stderr)
        return 2
    gpu = parse_size(options.gpu_memory)
    if is_decimal(options.gpu_memory) and not options.json:
        print(f"{options.gpu_memory} is {gpu / GIB:.1f} GiB. GPUs have more memory than the GB in "
              "their name: write what nvidia-smi shows, like 81559MiB for an H100 of 80 GB.",
              file=sys.stderr)  # fmt: skip
    budget = Budget(gpu=gpu, host=options.nodes * (options.host_memory or host_memory()))
    rows = plan(
        shape,
        budget,
        _base(options, shape),
        lengths=(options.max_length,) if options.max_length else LENGTHS,
        stages=STAGES if options.stage is None else (options.stage,),
        step_tokens=options.step_tokens,
    )
    chosen = choose(rows)
    if options.json:
        print(json.dumps(_as_json(shape, budget, rows, chosen), indent=2))
    else:
        _print(shape, budget, rows, chosen, options.nodes)
    return 0 if chosen else 1


class _Parser(argparse.ArgumentParser):
    """Argument parser that reports an error in one sentence, as every `berth` verb does."""

    def error(self, message: str) -> NoReturn:
        print(f"berth: {message.rstrip('.')}. See `berth plan --help`.", file=sys.stderr)
        sys.exit(2)


def options_parser() -> argparse.ArgumentParser:
    """Return the options of `berth plan`; the verb passes its words on to this parser."""
    parser = _Parser(
        prog="berth plan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    positive, size = _type_from(_positive), _type_from(parse_size)
    add("model", type=Path, metavar="MODEL", help="folder of a model, or its config.json")
    add("-g", "--gpus", type=positive, default=1, metavar="N", help="number of GPUs (default 1)")
    add("--nodes", type=positive, default=1, metavar="N",
        help="number of machines that the GPUs are on, as many on each (default 1)")  # fmt: skip
    add("--gpu-memory", type=_type_from(_size_text), default=_GPU_MEMORY, metavar="SIZE",
        help=f"of each GPU, as nvidia-smi shows it: 81559MiB, 40GiB (default {_GPU_MEMORY}, an\n"
        "H100 sold as 80 GB); GB are powers of 1000")  # fmt: skip
    add("--host-memory", type=size, metavar="SIZE",
        help="of each machine (default: this one's, or its cgroup's limit)")  # fmt: skip
    add("--stage", type=int, choices=(0, 1, 2, 3), help="ZeRO stage (default: 1 to 3)")
    add("--states", choices=("fp32", "bf16", "8bit"), default="fp32",
        help="precision of the optimizer states (default fp32)")  # fmt: skip
    add("--lora", type=positive, metavar="R", help="rank of LoRA adapters (default: none)")
    add("--four-bit", action="store_true", help="with --lora: frozen weights in 4 bits")
    add("--stock", action="store_true", help="without the trainer's own loss and fused layers")
    add("--max-length", type=positive, metavar="TOKENS",
        help="of a sample or a packed row (default: several)")  # fmt: skip
    add("--step-tokens", type=positive, default=32_768, metavar="TOKENS",
        help="per GPU and optimizer step (default 32768)")  # fmt: skip
    add("--json", action="store_true", help="print every row as JSON")
    return parser


def _type_from(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return `parse` as argparse wants it: the sentence of its ValueError reaches the user."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text} is not a whole number of at least 1")
    return int(text)


def _size_text(text: str) -> str:
    parse_size(text)
    return text


def _base(options: argparse.Namespace, shape: ModelShape) -> Setup:
    base = Setup(gpus=options.gpus, states=options.states)
    if not options.stock:
        base = replace(base, loss="chunked", chunk_tokens=512, fused=True, compiled=True)
    if options.lora:
        trained = shape.adapter_parameters(options.lora)
        base = replace(base, lora_parameters=trained, four_bit=options.four_bit, stage=1)
    return base


def _print(
    shape: ModelShape, budget: Budget, rows: list[Row], chosen: Row | None, nodes: int
) -> None:
    setup = rows[0].setup
    gpus = "1 GPU" if setup.gpus == 1 else f"{setup.gpus} GPUs"
    if nodes > 1:
        gpus += f" on {nodes} nodes"
    print(
        f"{shape.kind}: {shape.parameters / 1e9:.2f} billion parameters on {gpus} of "
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
        print("Nothing fits: use more GPUs, a shorter --max-length, --lora 16 or --states bf16.")
        return
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in chosen.need.parts.items())
    print(
        f"Chosen (→): the fastest that leaves {MARGIN:.0%} of a GPU free. Its peak in GiB: {parts}."
    )
    print("Tokens/s are a rough estimate for an H100-class GPU: use them to compare rows.")
    if nodes > 1:
        print(
            "They know nothing of the network between the nodes, which slows stage 3 most: it moves "
            "all weights in every micro-batch."
        )


def _best_per_choice(rows: list[Row]) -> list[Row]:
    """Keep one row per length, stage, offload and checkpointing: the fastest that fits, else the smallest."""
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
        "chosen": None if chosen is None else _row_json(chosen),
        "rows": [_row_json(row) for row in rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    return asdict(row) | {"setup": setup_json(row.setup)}


def _piped() -> int:
    """Run `main`; a closed pipe (`berth plan … | head`) is not an error."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it exits; send that to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(_piped())
