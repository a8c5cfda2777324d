"""
Check of memory and disk for a config file: `python -m berth_trainer.memory.check --config FILE …`.

For the queue, before a job waits: prints a JSON object with `warnings`, a list that is empty where
the run fits on GPUs and disk or nothing is known, and `step_s`, the seconds that the plan expects of a step, null
where nothing is known (a model on the hub, an unknown kind, a wrong config file: the run
itself reports those). Imports no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from berth_trainer.checkpoint import disk_room
from berth_trainer.config.config_file import read_settings
from berth_trainer.errors import UserError
from berth_trainer.memory import Budget, ShapeError, decide, read_shape
from berth_trainer.memory.disk import disk_plan
from berth_trainer.memory.speed import tokens_per_s


def main(arguments: list[str] | None = None) -> int:
    """Print the warnings; always 0, so that a fault here never stops a submit."""
    options = _parser().parse_args(arguments)
    try:
        decision = decided(
            options.config,
            gpus=options.gpus,
            budget=Budget(gpu=options.gpu_memory, host=options.host_memory),
        )
        found = {
            "warnings": [*decision.warnings, *_disk_warnings(options, decision)],
            "step_s": step_s(decision),
        }
    except (UserError, ShapeError, OSError):
        found = {"warnings": [], "step_s": None}
    print(json.dumps(found))
    return 0


def _disk_warnings(options: argparse.Namespace, decision: decide.Decision) -> list[str]:
    """Return what checkpoints and final model lack on the disk; nothing where it cannot be read."""
    if options.output_dir is None:
        return []
    made = disk_plan(decision.settings, decision.shape, max_steps=options.max_steps)
    try:
        sentence = disk_room.warning(made, options.output_dir, resumed=options.resume)
    except OSError:
        return []
    return [f"{sentence[:1].upper()}{sentence[1:]}"] if sentence else []


def step_s(decision: decide.Decision) -> float:
    """Return the seconds of an optimizer step by the rough speed model, saving left out."""
    training = decision.settings.training
    tokens = decide.row_tokens(decision.settings) * training.gradient_accumulation_steps
    speed = tokens_per_s(
        decision.shape, decision.setup, micro_batch=training.batch_size, step_tokens=tokens
    )
    return round(decision.setup.gpus * tokens / speed, 4)


def decided(config: Path, *, gpus: int, budget: Budget) -> decide.Decision:
    """Return the plan of a run with this config file. Raises UserError, ShapeError, OSError."""
    settings = decide.with_four_bit(read_settings(config))
    shape = read_shape(settings.locate(settings.model.path))
    fused = settings.training.fused_layers != "off" and shape.kind in decide.FUSED_KINDS
    return decide.decide(settings, shape, gpus=gpus, budget=budget, fused=fused)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m berth_trainer.memory.check", description=__doc__
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--gpu-memory", type=int, required=True, help="of the smallest GPU, bytes")
    parser.add_argument("--host-memory", type=int, default=1 << 60, help="of the machine, bytes")
    parser.add_argument("--output-dir", type=Path, help="or the folder that it will be made in")
    parser.add_argument("--resume", action="store_true", help="its checkpoints are the run's own")
    parser.add_argument("--max-steps", type=int, default=0, help="of the run's command")
    return parser


if __name__ == "__main__":
    sys.exit(main())
