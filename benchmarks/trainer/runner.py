"""One row: the trainer's own parts around a model with random weights, in this process."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clock import GIB, clock_callback, count_tokens, measure, quieten
from gpus import own_device
from models import prepare_model
from phases import Phases
from results import Result
from rows import Row
from shapes import config_of

if TYPE_CHECKING:
    from berth_trainer.data.packing import PackedDataset
    from berth_trainer.data.tokens import TokenDataset


def run(
    row: Row,
    samples: TokenDataset,
    out: Path,
    *,
    max_length: int,
    deadline: float,
    cpu_adam: bool,
) -> Result:
    """
    Run it; whatever goes wrong stands in the result.

    `cpu_adam`: DeepSpeed's compiled Adam for offloaded optimizers, whose build takes two minutes
    where it was not built before; else torch's own, which is slower.
    """
    result = Result(row)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the table alone goes to stdout
            if row.trainer == "trl":
                import trl_row

                trl_row.run(row, samples, out, result, deadline=deadline)
            elif row.trainer == "fsdp2":
                import fsdp_row

                fsdp_row.run(row, samples, out, result, deadline=deadline)
            else:
                _run(row, samples, out, result, max_length, deadline, cpu_adam=cpu_adam)
    except Exception as error:  # noqa: BLE001 - one bad row must not cost the others
        first = str(error).strip().partition("\n")[0]
        result.failure = f"{type(error).__name__}: {first}"[:220]
    return result


@dataclass(frozen=True)
class Ready:
    """A row as it runs on this machine."""

    settings: Any
    hardware: Any
    config: Any
    packed: PackedDataset | None
    fused: bool
    block_mask: bool

    @property
    def device(self) -> str:
        return own_device(cuda=self.hardware.cuda)


def _run(
    row: Row,
    samples: TokenDataset,
    out: Path,
    result: Result,
    max_length: int,
    deadline: float,
    *,
    cpu_adam: bool,
) -> None:
    from berth_trainer.config import deepspeed_config, training_arguments
    from berth_trainer.data.collate import Collate
    from berth_trainer.data.packing import CollatePacked
    from berth_trainer.model import zero3_layers
    from berth_trainer.model.hardware import prepare_deepspeed
    from berth_trainer.training.persona_trainer import PersonaTrainer

    ready = _decide(row, samples, result, max_length)
    if ready is None:
        return
    training, hardware = ready.settings.training, ready.hardware
    zero = deepspeed_config.build(
        ready.settings.deepspeed,
        cuda=hardware.cuda,
        cpu_adam=hardware.cpu_adam and cpu_adam,
        world_size=row.ranks,
        states=training.optimizer_states,
    )
    prepare_deepspeed(hardware)
    arguments = training_arguments.build(
        training,
        output_dir=out,
        deepspeed=zero,
        hardware=hardware,
        max_steps=row.steps,
        evaluating=False,
        accumulation=training.gradient_accumulation_steps,
    )
    packed = ready.packed
    model, bounds = prepare_model(ready, result.notes)
    clock = clock_callback(deadline)
    trainer = PersonaTrainer(
        collate=Collate(0, max_length),
        pad_id=0,
        pack=CollatePacked(0, training.pack_tokens, bounds) if packed else None,
        model=model,
        args=arguments,
        train_dataset=packed or samples,
        callbacks=[clock],
        by_layers=zero3_layers.by_layers(ready.settings.deepspeed),
        save_in_background=training.save_in_background,
    )
    quieten(trainer)
    tokens = count_tokens(trainer, training.gradient_accumulation_steps)
    phases = Phases()
    phases.watch(trainer)
    try:
        trainer.train()
    finally:
        trainer.saver.wait()
        measure(result, clock, tokens(), phases)
        result.stood_still_s = round(trainer.stood_still_s, 2)


def _decide(row: Row, samples: TokenDataset, result: Result, max_length: int) -> Ready | None:
    """Plan the row as the trainer would; None where it is not to be run."""
    import torch

    from berth_trainer.config.config_file import settings_from
    from berth_trainer.data.packing import PackedDataset, pack
    from berth_trainer.memory import Budget, decide, read_shape
    from berth_trainer.memory.speed import tokens_per_s
    from berth_trainer.model.hardware import detect_hardware
    from berth_trainer.model.prepare import uses_fused_layers
    from berth_trainer.training.ranks import ranks_from
    from berth_trainer.training.session_data import max_label_tokens

    keys = {key: value for key, value in row.training.items() if key != "attention"}
    document = {
        "model": {"path": "none"},
        "data": {"train_path": "none"},
        "training": {
            "max_length": min(max_length, keys.get("pack_tokens", max_length)),
            "max_steps": row.steps,
            "logging_steps": 1,
            "eval_steps": 0,
            "save_steps": 0,
            "save_in_background": "on",
            **keys,
        },
        "deepspeed": row.deepspeed,
        "lora": row.lora,
    }
    settings = settings_from(document, source=Path("benchmark.json"))
    hardware = detect_hardware(settings, os.environ)
    config = config_of(row.shape, row.layers)
    shape = read_shape(config.to_dict())
    card = ranks_from(os.environ).local_rank
    total = torch.cuda.mem_get_info(card)[1] if hardware.cuda else 80 * GIB
    fused = uses_fused_layers(settings, config, hardware)
    budget = Budget(gpu=total, host=1 << 50)
    decision = decide.decide(settings, shape, gpus=row.ranks, budget=budget, fused=fused)
    result.notes = [*decision.notes, *decision.warnings]
    result.parameters = shape.parameters
    training = decision.settings.training
    packed = None
    if training.pack_tokens:
        rows = pack([int(length) for length in samples.lengths], training.pack_tokens)
        packed = PackedDataset(samples, rows)
    decision = decision.with_label_tokens(max_label_tokens(samples, packed, training.batch_size))
    result.plan, result.plan_fits = decision.need.allocated / GIB, not decision.warnings
    result.plan_host = round(decision.need.host / GIB, 1)
    step = decision.setup.tokens * training.gradient_accumulation_steps
    result.expected = round(tokens_per_s(shape, decision.setup, step_tokens=step), 1)
    result.setup = asdict(decision.setup)
    if not result.plan_fits and row.expect == "fits":
        result.failure = f"not run: {decision.warnings[0]}"
        return None
    return Ready(
        settings=decision.settings,
        hardware=hardware,
        config=config,
        packed=packed,
        fused=fused,
        block_mask=row.training.get("attention") == "block",
    )
