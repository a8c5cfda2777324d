"""One row: the trainer's own parts around a model with random weights, in this process."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dialogues import Sample
from phases import Phases
from rows import Row
from shapes import config_of

GIB = 1 << 30


@dataclass
class Result:
    """What a row gave; memory in GiB of torch's allocator, 0 on a CPU."""

    row: Row
    tokens_per_s: float = 0.0
    """Real tokens, without padding."""
    of_peak: float = 0.0
    """6 FLOP a parameter and token, over 790 TFLOP/s."""
    allocated: float = 0.0
    reserved: float = 0.0
    context: float = 0.0
    """What the process has on the card beside that: CUDA's context, cuBLAS."""
    host: float = 0.0
    """What the process has in the host's memory after a step."""
    phases: dict[str, float] = field(default_factory=dict)
    """Peaks of the parts of a step, see `Phases`."""
    plan: float = 0.0
    plan_host: float = 0.0
    expected: float = 0.0
    """Tokens a second by the plan's speed model."""
    plan_fits: bool = True
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    setup: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def off(self) -> float:
        """Plan against what was allocated, in per cent."""
        return 100 * (self.plan / self.allocated - 1) if self.allocated else 0.0


def run(
    row: Row,
    samples: list[Sample],
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
            else:
                _run(row, samples, out, result, max_length, deadline, cpu_adam=cpu_adam)
    except Exception as error:  # noqa: BLE001 - one bad row must not cost the others
        first = str(error).strip().partition("\n")[0]
        result.failure = f"{type(error).__name__}: {first}"[:220]
    return result


@dataclass(frozen=True)
class _Ready:
    """What a row comes to on this machine."""

    settings: Any
    hardware: Any
    config: Any
    parameters: int
    rows: list[tuple[int, ...]]
    """Which samples a micro-batch has."""
    lean: bool
    block_mask: bool

    @property
    def device(self) -> str:
        return "cuda:0" if self.hardware.cuda else "cpu"


def _run(
    row: Row,
    samples: list[Sample],
    out: Path,
    result: Result,
    max_length: int,
    deadline: float,
    *,
    cpu_adam: bool,
) -> None:
    from berth_trainer import deepspeed_config, training_arguments
    from berth_trainer.data.collate import Collate
    from berth_trainer.data.packing import CollatePacked, PackedDataset
    from berth_trainer.hardware import prepare_deepspeed
    from berth_trainer.persona_trainer import PersonaTrainer

    ready = _decide(row, samples, result, max_length)
    if ready is None:
        return
    training, hardware = ready.settings.training, ready.hardware
    zero = deepspeed_config.build(
        ready.settings.deepspeed,
        cuda=hardware.cuda,
        cpu_adam=hardware.cpu_adam and cpu_adam,
        world_size=1,
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
    packed = PackedDataset(samples, ready.rows) if training.pack_tokens else None
    model, bounds = _model(ready, result)
    clock = clock_callback(deadline)
    trainer = PersonaTrainer(
        collate=Collate(0, max_length),
        pad_id=0,
        pack=CollatePacked(0, training.pack_tokens, bounds) if packed else None,
        model=model,
        args=arguments,
        train_dataset=packed or samples,
        callbacks=[clock],
    )
    quieten(trainer)
    tokens = count_tokens(trainer, training.gradient_accumulation_steps)
    phases = Phases()
    phases.watch(trainer)
    try:
        trainer.train()
    finally:
        measure(result, clock, tokens(), row, ready.parameters, phases)


def _decide(row: Row, samples: list[Sample], result: Result, max_length: int) -> _Ready | None:
    """Plan the row as the trainer would; None where it is not to be run."""
    import torch

    from berth_trainer import planning
    from berth_trainer.config_file import settings_from
    from berth_trainer.data.encode import IGNORED
    from berth_trainer.data.packing import pack
    from berth_trainer.hardware import look
    from berth_trainer.memory import Budget, read_shape
    from berth_trainer.memory.speed import tokens_per_s
    from berth_trainer.plan_run import lean_layers

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
            **keys,
        },
        "deepspeed": row.deepspeed,
        "lora": row.lora,
    }
    settings = settings_from(document, source=Path("benchmark.json"))
    hardware = look(settings, os.environ)
    config = config_of(row.shape, row.layers)
    shape = read_shape(config.to_dict())
    total = torch.cuda.mem_get_info()[1] if hardware.cuda else 80 * GIB
    lean = lean_layers(settings, config, hardware)
    decision = planning.decide(
        settings, shape, gpus=1, budget=Budget(gpu=total, host=1 << 50), fused=lean
    )
    result.told = [*decision.told, *decision.warnings]
    packing = decision.settings.training.pack_tokens
    rows = (
        pack([len(one["input_ids"]) for one in samples], packing)
        if packing
        else [(index,) for index in range(len(samples))]
    )
    learned = [sum(label != IGNORED for label in one["labels"]) for one in samples]
    decision = decision.knowing(max(sum(learned[index] for index in row) for row in rows))
    result.plan, result.plan_fits = decision.need.allocated / GIB, not decision.warnings
    result.plan_host = round(decision.need.host / GIB, 1)
    accumulation = decision.settings.training.gradient_accumulation_steps
    result.expected = round(
        tokens_per_s(shape, decision.setup, step_tokens=decision.setup.tokens * accumulation), 1
    )
    result.setup = asdict(decision.setup)
    if not result.plan_fits and row.expect == "fits":
        result.failure = f"not run: {decision.warnings[0]}"
        return None
    return _Ready(
        settings=decision.settings,
        hardware=hardware,
        config=config,
        parameters=shape.parameters,
        rows=rows,
        lean=lean,
        block_mask=row.training.get("attention") == "block",
    )


def _model(ready: _Ready, result: Result) -> tuple[Any, bool]:
    """The model as the trainer would dress it, and whether rows carry their samples' bounds."""
    from berth_trainer import checkpointing, chunked_loss, fused_layers, varlen_attention
    from berth_trainer.lora import add_adapter

    training, device = ready.settings.training, ready.device
    stage = ready.settings.deepspeed.stage
    model = random_model(ready.config, ready.hardware, device, stage=stage)
    if ready.lean:
        trouble = "there is no GPU" if not ready.hardware.cuda else "switched off"
        if ready.hardware.cuda and training.compile != "off":
            trouble = fused_layers.compiler_trouble(device)
        fused_layers.install(model, compiled=not trouble)
        result.told.append(f"layers: {f'not compiled, {trouble}' if trouble else 'compiled'}")
    if training.loss_chunk:
        chunked_loss.install(model, training.loss_chunk)
    if ready.settings.lora.quantize == "4bit":
        quantize(model, device)
    able = bool(training.pack_tokens) and not ready.block_mask
    bounds = able and varlen_attention.choose(model, device)
    result.told.append(f"attention: {'by bounds' if bounds else 'mask'}")
    if ready.settings.lora.r:
        model = add_adapter(model, ready.settings.lora)
    if training.gradient_checkpointing:
        checkpointing.enable(model, training.checkpoint_layers)
    return model, bounds


def random_model(config: Any, hardware: Any, device: str, *, stage: int) -> Any:
    """Made on the device itself; under stage 3 within DeepSpeed's zero.Init, as loading is."""
    import torch
    from transformers import AutoModelForCausalLM

    kind = torch.bfloat16 if hardware.precision == "bf16" else torch.float32
    torch.manual_seed(1)
    if stage == 3:
        model = AutoModelForCausalLM.from_config(config, dtype=kind)
    else:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=kind)
    model.config.use_cache = False
    return model


def quantize(model: Any, device: str) -> None:
    """The decoder's linear layers in nf4, as loading them would have them."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in list(model.get_decoder().named_modules()):
        if not isinstance(layer, torch.nn.Linear):
            continue
        small = Linear4bit(
            layer.in_features, layer.out_features, bias=False,
            compute_dtype=torch.bfloat16, quant_type="nf4", device="meta",
        )  # fmt: skip
        small.weight = Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", module=small
        ).to(device)
        parent, _, child = name.rpartition(".")
        setattr(model.get_decoder().get_submodule(parent), child, small)
    model.is_loaded_in_4bit = True


def clock_callback(deadline: float) -> Any:
    """Times the steps and ends the run at the deadline (seconds of perf_counter)."""
    import psutil
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.losses: list[float] = []
            self.host = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self._note()

        def on_step_end(self, *given: Any, **_: Any) -> None:
            self._note()
            if time.perf_counter() > deadline:
                given[2].should_training_stop = True  # args, state, control

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

        def _note(self) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())
            self.host = max(self.host, round(psutil.Process().memory_info().rss / GIB, 1))

    return Clock()


def count_tokens(trainer: Any, accumulation: int) -> Callable[[], list[float]]:
    """Real tokens of each step, to be asked for at the end: nothing waits for the GPU."""
    seen: list[Any] = []
    step = trainer.training_step

    def counting(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        seen.append((inputs["input_ids"] != 0).sum())
        return step(model, inputs, *rest, **options)

    trainer.training_step = counting

    def by_step() -> list[float]:
        counts = [float(one) for one in seen]
        return [
            sum(counts[start : start + accumulation])
            for start in range(0, len(counts), accumulation)
        ]

    return by_step


def measure(
    result: Result,
    clock: Any,
    tokens: list[float],
    row: Row,
    parameters: int,
    phases: Phases,
) -> None:
    """Speed of the steps after the warm-up, and the peak of all."""
    import torch

    result.losses = [round(loss, 4) for loss in clock.losses]
    steps = min(len(tokens), len(clock.ends) - 1)
    warm = min(row.warm_up, max(0, steps - 1))
    if steps > warm:
        took = clock.ends[steps] - clock.ends[warm]
        result.tokens_per_s = round(sum(tokens[warm:steps]) / took, 1)
        result.of_peak = round(6 * parameters * result.tokens_per_s / 790e12, 4)
    result.host = clock.host
    if torch.cuda.is_available():
        phases.finish()
        result.phases, result.allocated, result.reserved = (
            phases.peaks, phases.allocated, phases.reserved)  # fmt: skip
        free, total = torch.cuda.mem_get_info()
        result.context = round((total - free - torch.cuda.memory_reserved()) / GIB, 2)


def quieten(trainer: Any) -> None:
    from transformers import PrinterCallback, ProgressCallback

    for loud in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(loud)


def as_json(result: Result) -> dict[str, Any]:
    body = asdict(replace(result, row=result.row))
    body["off_percent"] = round(result.off, 2)
    return body
