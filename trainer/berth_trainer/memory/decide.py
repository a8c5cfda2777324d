"""
Decide what a run leaves open with `training.plan` auto, and estimate what it needs.

Pure: settings, a model's shape and a budget in, settings and sentences out. A key of the config
file is never overruled, and length, learning rate and the samples of a step are never decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from berth_trainer.config.settings import Settings
from berth_trainer.errors import UserError
from berth_trainer.memory import Budget, Estimate, ModelShape, Row, Setup, choose, estimate, plan
from berth_trainer.memory.estimate import CONTEXT_BYTES
from berth_trainer.memory.search import OFFLOADS, STAGES, verdict
from berth_trainer.memory.sizes import GIB
from berth_trainer.memory.wording import changes, hints, reason

FUSED_KINDS = frozenset({"gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"})
"""Model types whose norms and gated blocks berth_trainer.model.fused_layers knows."""
_TOO_LARGE = 1.03
"""Multiple of a GPU's memory above which the states alone have a run refused."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`settings` to run with, `notes` and `warnings` for the log, `need` of the run as decided."""

    settings: Settings
    shape: ModelShape
    setup: Setup
    need: Estimate
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def with_label_tokens(self, label_tokens: int | None) -> Decision:
        """Estimate again, knowing how many tokens of a micro-batch count in the loss."""
        setup = replace(self.setup, label_tokens=label_tokens)
        return replace(self, setup=setup, need=estimate(self.shape, setup))


@dataclass(frozen=True, slots=True)
class _Case:
    """A run to plan: settings and model on `gpus` GPUs of `budget`, with `fused` layers or not."""

    settings: Settings
    shape: ModelShape
    gpus: int
    budget: Budget
    fused: bool

    def setup(self, settings: Settings | None = None) -> Setup:
        return setup_of(settings or self.settings, self.shape, gpus=self.gpus, fused=self.fused)

    @property
    def step_samples(self) -> int:
        """Samples of an optimizer step over all GPUs."""
        training = self.settings.training
        own = training.batch_size * training.gradient_accumulation_steps * self.gpus
        return max(self.gpus, training.global_batch or own)

    def with_given(self, given: frozenset[str]) -> _Case:
        """Return the case with only these keys taken from the file."""
        return replace(self, settings=replace(self.settings, given=given))


def decide(
    settings: Settings, shape: ModelShape, *, gpus: int, budget: Budget, fused: bool
) -> Decision:
    """
    Return the plan of a run on `gpus` GPUs of `budget`. Raises UserError where it cannot run.

    With `training.plan` manual nothing changes, and a warning says where the run will not fit and
    what would. With auto the fastest set-up that fits is taken among those the file leaves open.
    """
    case = _Case(settings, shape, gpus, budget, fused)
    if settings.training.plan == "manual":
        return _judge(replace(case, settings=with_global_batch(settings, gpus)))
    rows = _open_rows(case)
    row = choose(rows) or min(rows, key=lambda one: one.need.gpu)
    notes = (reason(settings, row, rows), *hints(settings))
    return _judge(replace(case, settings=_taken(case, row)), notes)


def refuse_impossible(decision: Decision, budget: Budget) -> None:
    """Raise UserError where the model's states alone are larger than a GPU."""
    states = decision.need.parts["model states"]
    if states + CONTEXT_BYTES > budget.gpu * _TOO_LARGE:
        raise UserError(
            f"The model's states alone take {states / GIB:.1f} GiB per GPU and this one has "
            f"{budget.gpu / GIB:.1f}: use more GPUs, deepspeed.offload_optimizer cpu, or lora.r."
        )


def setup_of(settings: Settings, shape: ModelShape, *, gpus: int, fused: bool) -> Setup:
    """Return the settings as the memory plan sees them. Raises ValueError for impossible ones."""
    training, zero, lora = settings.training, settings.deepspeed, settings.lora
    return Setup(
        gpus=gpus,
        stage=zero.stage,
        offload_optimizer=zero.offload_optimizer == "cpu",
        offload_param=zero.offload_param == "cpu" and zero.stage == 3,
        states=training.optimizer_states,
        checkpointing=training.gradient_checkpointing,
        checkpoint_layers=training.checkpoint_layers or None,
        fused=fused,
        compiled=fused and bool(training.pack_tokens) and training.compile != "off",
        span=training.max_length if training.pack_tokens else None,
        loss="chunked" if training.loss_chunk else "stock",
        chunk_tokens=training.loss_chunk or 1,
        tokens=row_tokens(settings),
        lora_parameters=shape.adapter_parameters(lora.r) if lora.r else None,
        four_bit=lora.quantize == "4bit",
        by_layers=zero.gather == "layers",
    )


def row_tokens(settings: Settings) -> int:
    """Return the most tokens that a micro-batch holds."""
    training = settings.training
    return training.pack_tokens or training.batch_size * training.max_length


def with_four_bit(settings: Settings) -> Settings:
    """
    Return the settings with a ZeRO stage below 3 for QLoRA, unless the file sets one: 4-bit weights
    can be neither partitioned nor offloaded. Raises UserError where the file asks for both.
    """
    if settings.lora.quantize == "none":
        return settings
    zero, given = settings.deepspeed, settings.given
    if "deepspeed.stage" in given and zero.stage == 3:
        raise UserError(
            "lora.quantize keeps the whole model in 4 bits on every GPU, which ZeRO stage 3 cannot "
            "partition; set deepspeed.stage to 1."
        )
    optimizer = zero.offload_optimizer if "deepspeed.offload_optimizer" in given else "none"
    stage = zero.stage if "deepspeed.stage" in given else 1
    return replace(
        settings,
        deepspeed=replace(zero, stage=stage, offload_param="none", offload_optimizer=optimizer),
    )


def with_global_batch(settings: Settings, gpus: int) -> Settings:
    """Set the accumulation so that a step has `training.global_batch` samples. Raises UserError."""
    training = settings.training
    if not training.global_batch:
        return settings
    at_once = training.batch_size * gpus
    if training.global_batch % at_once:
        raise UserError(
            f"training.global_batch {training.global_batch} cannot be made of {gpus} GPUs with "
            f"training.batch_size {training.batch_size}: use a multiple of {at_once}."
        )
    accumulation = training.global_batch // at_once
    given = "training.gradient_accumulation_steps" in settings.given
    if given and training.gradient_accumulation_steps != accumulation:
        raise UserError(
            f"training.global_batch {training.global_batch} means {accumulation} accumulation "
            f"steps here, but training.gradient_accumulation_steps says "
            f"{training.gradient_accumulation_steps}; remove one of them."
        )
    return _training(settings, gradient_accumulation_steps=accumulation)


def _judge(case: _Case, notes: tuple[str, ...] = ()) -> Decision:
    """Estimate the case as it stands, with a warning where it will not fit."""
    try:
        setup = case.setup()
        need = estimate(case.shape, setup)
    except ValueError as error:
        raise UserError(f"{error} Change deepspeed.stage, or lora.quantize.") from None
    fits = case.budget.fits(need)
    warnings = () if fits else (_will_not_fit(case, setup, need),)
    return Decision(case.settings, case.shape, setup, need, notes, warnings)


def _will_not_fit(case: _Case, setup: Setup, need: Estimate) -> str:
    """Say how much is needed, of what, and the nearest set-up that would fit."""
    gpus = "a GPU" if case.gpus == 1 else f"{case.gpus} GPUs"
    size = f"{gpus} of {case.budget.gpu / GIB:.0f} GiB"
    batch = case.settings.given & {"training.batch_size", "training.global_batch"}
    row = choose(_open_rows(case.with_given(batch)))
    if row is None:  # with a smaller micro-batch, then
        row = choose(_open_rows(case.with_given(frozenset())))
    keys = changes(case.settings, row) if row else ""
    fix = f"{keys} would fit" if keys else "use more GPUs, LoRA, or a shorter training.max_length"
    return f"It will probably not fit on {size}: it {verdict(need, case.budget, setup)}; {fix}."


def _open_rows(case: _Case) -> list[Row]:
    """Return every set-up that agrees with the keys of the file, fastest first."""
    settings = case.settings
    training, zero, given = settings.training, settings.deepspeed, settings.given
    # Rows replace stage and offloads: the base must only not contradict itself.
    plain = replace(zero, stage=1, offload_optimizer="none", offload_param="none")
    base = case.setup(replace(settings, deepspeed=plain))
    stages: Sequence[int] = (zero.stage,) if "deepspeed.stage" in given else STAGES
    fixed_layers = training.checkpoint_layers
    fixed = "training.gradient_checkpointing" in given or bool(fixed_layers)
    length = training.pack_tokens or training.max_length
    rows: list[Row] = []
    for batch in _micro_batches(case):
        rows += plan(
            case.shape,
            case.budget,
            base,
            lengths=(length,),
            micro_batches=(batch,),
            stages=stages,
            offloads=_open_offloads(settings, stages),
            checkpointing=(training.gradient_checkpointing,) if fixed else (False, True),
            step_tokens=case.step_samples // case.gpus * length,
        )
    if fixed_layers:
        rows = [_with_layers(case, row, fixed_layers) for row in rows]
    if not rows:
        raise UserError(
            "deepspeed.stage, deepspeed.offload_param and lora.quantize contradict each other: "
            "parameters can be offloaded only under stage 3, and 4-bit weights need a stage below 3."
        )
    return sorted(rows, key=lambda row: (-row.tokens_per_s, row.need.gpu))


def _open_offloads(settings: Settings, stages: Sequence[int]) -> list[tuple[bool, bool]]:
    """Return the pairs of optimizer and parameter offload that the file leaves open."""
    zero, given = settings.deepspeed, settings.given
    asked = (zero.offload_optimizer == "cpu", zero.offload_param == "cpu")

    def is_open(optimizer: bool, param: bool) -> bool:  # noqa: FBT001 - as OFFLOADS has them
        if "deepspeed.offload_optimizer" in given and optimizer != asked[0]:
            return False
        below_3 = not param and tuple(stages) != (3,)
        return "deepspeed.offload_param" not in given or param == asked[1] or below_3

    return [pair for pair in OFFLOADS if is_open(*pair)] or [asked]


def _with_layers(case: _Case, row: Row, layers: int) -> Row:
    setup = replace(row.setup, checkpoint_layers=layers)
    need = estimate(case.shape, setup)
    return replace(
        row,
        setup=setup,
        need=need,
        fits=case.budget.fits(need),
        verdict=verdict(need, case.budget, setup),
    )


def _micro_batches(case: _Case) -> list[int]:
    """Return the micro-batches that make the same samples per step."""
    training = case.settings.training
    keys = {"training.batch_size", "training.gradient_accumulation_steps"}
    if training.pack_tokens or case.settings.given & keys:
        return [training.batch_size]
    mine = case.step_samples // case.gpus
    return [batch for batch in range(1, min(mine, 64) + 1) if mine % batch == 0]


def _taken(case: _Case, row: Row) -> Settings:
    """Return the settings with the row's choices."""
    settings, setup = case.settings, row.setup
    batch = settings.training.batch_size if settings.training.pack_tokens else row.micro_batch
    changed = _training(
        settings,
        gradient_checkpointing=setup.checkpointing,
        checkpoint_layers=setup.checkpoint_layers or 0,
        batch_size=batch,
        gradient_accumulation_steps=max(1, case.step_samples // (batch * case.gpus)),
    )
    zero = replace(
        settings.deepspeed,
        stage=setup.stage,
        offload_optimizer="cpu" if setup.offload_optimizer else "none",
        offload_param="cpu" if setup.offload_param else "none",
    )
    return with_global_batch(replace(changed, deepspeed=zero), case.gpus)


def _training(settings: Settings, **changed: object) -> Settings:
    return replace(settings, training=replace(settings.training, **changed))  # pyright: ignore[reportArgumentType]  # names of the section
