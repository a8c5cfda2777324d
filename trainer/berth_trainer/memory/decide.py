"""
What a run will need, and with `training.plan` auto what it leaves open, decided.

Pure: settings, a model's shape and a budget in, settings and sentences out. What stands in the
config file is never overruled, and length, learning rate and the samples of a step are never
decided here at all.
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

FUSED_KINDS = frozenset({"gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"})
"""Model types of which berth_trainer.model.fused_layers knows every norm and gated block."""
_TOO_LARGE = 1.03
"""How far above a card's memory the states alone must lie for a run to be refused."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`settings` to run with; `notes` and `warnings` for the log; `need` of the run as decided."""

    settings: Settings
    shape: ModelShape
    setup: Setup
    need: Estimate
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def with_label_tokens(self, label_tokens: int | None) -> Decision:
        """The same with the need once it is known how much of a micro-batch is learned."""
        setup = replace(self.setup, label_tokens=label_tokens)
        return replace(self, setup=setup, need=estimate(self.shape, setup))


def setup_of(settings: Settings, shape: ModelShape, *, gpus: int, fused: bool) -> Setup:
    """The settings as the memory plan sees them. Raises ValueError for impossible ones."""
    training, zero, lora = settings.training, settings.deepspeed, settings.lora
    return Setup(
        gpus=gpus,
        stage=zero.stage,  # pyright: ignore[reportArgumentType]  # checked when read
        offload_optimizer=zero.offload_optimizer == "cpu",
        offload_param=zero.offload_param == "cpu" and zero.stage == 3,
        states=training.optimizer_states,  # pyright: ignore[reportArgumentType]  # as stage
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
    )


def row_tokens(settings: Settings) -> int:
    """Tokens of one micro-batch at most."""
    training = settings.training
    return training.pack_tokens or training.batch_size * training.max_length


def with_four_bit(settings: Settings) -> Settings:
    """
    For QLoRA a ZeRO stage below 3, where the file leaves it open: 4-bit weights cannot be divided
    among ranks, nor offloaded. Raises UserError where the file asks for both.
    """
    if settings.lora.quantize == "none":
        return settings
    zero, given = settings.deepspeed, settings.given
    if "deepspeed.stage" in given and zero.stage == 3:
        raise UserError(
            "lora.quantize keeps the whole model in 4 bits on every card, which ZeRO stage 3 cannot "
            "divide; set deepspeed.stage to 1."
        )
    optimizer = zero.offload_optimizer if "deepspeed.offload_optimizer" in given else "none"
    stage = zero.stage if "deepspeed.stage" in given else 1
    return replace(
        settings,
        deepspeed=replace(zero, stage=stage, offload_param="none", offload_optimizer=optimizer),
    )


def with_global_batch(settings: Settings, gpus: int) -> Settings:
    """Accumulation such that a step has `training.global_batch` samples. Raises UserError."""
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


def decide(
    settings: Settings, shape: ModelShape, *, gpus: int, budget: Budget, fused: bool
) -> Decision:
    """
    The plan of a run on `gpus` cards of `budget`. Raises UserError where it cannot run at all.

    With `training.plan` manual nothing changes, and a warning says where the run will not fit and
    what would. With auto the fastest set-up that fits is taken among those the file leaves open.
    """
    if settings.training.plan == "manual":
        settings = with_global_batch(settings, gpus)
        return _judged(settings, shape, gpus, budget, fused, ())
    rows = _open_rows(settings, shape, gpus, budget, fused)
    row = choose(rows)
    if row is None:
        row = min(rows, key=lambda one: one.need.gpu)
    decided = _taken(settings, row, gpus)
    notes = (_reason(settings, row, rows), *_hints(settings))
    return _judged(decided, shape, gpus, budget, fused, notes)


def refuse_impossible(decision: Decision, budget: Budget) -> None:
    """Raise UserError where the model's states alone are more than a card has."""
    states = decision.need.parts["model states"]
    if states + CONTEXT_BYTES > budget.gpu * _TOO_LARGE:
        raise UserError(
            f"The model's states alone take {states / GIB:.1f} GiB a card and this one has "
            f"{budget.gpu / GIB:.1f}: use more GPUs, deepspeed.offload_optimizer cpu, or lora.r."
        )


def _judged(
    settings: Settings,
    shape: ModelShape,
    gpus: int,
    budget: Budget,
    fused: bool,  # noqa: FBT001
    notes: tuple[str, ...],
) -> Decision:
    try:
        setup = setup_of(settings, shape, gpus=gpus, fused=fused)
        need = estimate(shape, setup)
    except ValueError as error:
        raise UserError(f"{error} Change deepspeed.stage, or lora.quantize.") from None
    warnings: tuple[str, ...] = ()
    if not budget.fits(need):
        warnings = (_will_not_fit(settings, shape, setup, need, budget),)
    return Decision(settings, shape, setup, need, notes, warnings)


def _will_not_fit(
    settings: Settings, shape: ModelShape, setup: Setup, need: Estimate, budget: Budget
) -> str:
    """One sentence: how much is needed, of what, and the nearest set-up that would fit."""
    cards = "a card" if setup.gpus == 1 else f"{setup.gpus} cards"
    card = f"{cards} of {budget.gpu / GIB:.0f} GiB"
    free = replace(
        settings, given=settings.given & {"training.batch_size", "training.global_batch"}
    )
    row = choose(_open_rows(free, shape, setup.gpus, budget, setup.fused)) or choose(
        _open_rows(
            replace(free, given=frozenset()), shape, setup.gpus, budget, setup.fused
        )  # a smaller micro-batch
    )
    mend = "use more GPUs, LoRA, or a shorter training.max_length"
    if row is not None:
        mend = f"{_changes(settings, row)} would fit" if _changes(settings, row) else mend
    return f"It will probably not fit on {card}: it {verdict(need, budget, setup)}; {mend}."


def _open_rows(
    settings: Settings,
    shape: ModelShape,
    gpus: int,
    budget: Budget,
    fused: bool,  # noqa: FBT001
) -> list[Row]:
    """Every set-up that agrees with what stands in the file, fastest first."""
    training, zero, given = settings.training, settings.deepspeed, settings.given
    base = setup_of(_quiet(settings), shape, gpus=gpus, fused=fused)
    stages: Sequence[int] = (zero.stage,) if "deepspeed.stage" in given else STAGES
    offloads = [
        (optimizer, param)
        for optimizer, param in OFFLOADS
        if ("deepspeed.offload_optimizer" not in given or optimizer == (zero.offload_optimizer == "cpu"))
        and ("deepspeed.offload_param" not in given or param == (zero.offload_param == "cpu") or (not param and stages != (3,)))
    ] or [(zero.offload_optimizer == "cpu", zero.offload_param == "cpu")]  # fmt: skip
    fixed_layers = bool(training.checkpoint_layers)
    fixed = "training.gradient_checkpointing" in given or fixed_layers
    rows: list[Row] = []
    for batch in _batches(settings, gpus):
        length = training.pack_tokens or training.max_length
        rows += plan(
            shape,
            budget,
            base,
            lengths=(length,),
            micro_batches=(batch,),
            stages=stages,
            offloads=offloads,
            checkpointing=(training.gradient_checkpointing,) if fixed else (False, True),
            step_tokens=_step_samples(settings, gpus) // gpus * length,
        )
    if fixed_layers:
        rows = [_with_layers(row, shape, budget, training.checkpoint_layers) for row in rows]
    if not rows:
        raise UserError(
            "deepspeed.stage, deepspeed.offload_param and lora.quantize contradict each other: "
            "parameters are offloaded under stage 3 only, 4-bit weights live below it."
        )
    return sorted(rows, key=lambda row: (-row.tokens_per_s, row.need.gpu))


def _with_layers(row: Row, shape: ModelShape, budget: Budget, layers: int) -> Row:
    setup = replace(row.setup, checkpoint_layers=layers)
    need = estimate(shape, setup)
    return replace(
        row,
        setup=setup,
        need=need,
        fits=budget.fits(need),
        verdict=verdict(need, budget, setup),
    )


def _quiet(settings: Settings) -> Settings:
    """Settings whose stage and offloads cannot contradict anything: rows replace them."""
    return replace(
        settings,
        deepspeed=replace(
            settings.deepspeed, stage=1, offload_optimizer="none", offload_param="none"
        ),
    )


def _step_samples(settings: Settings, gpus: int) -> int:
    training = settings.training
    own = training.batch_size * training.gradient_accumulation_steps * gpus
    return max(gpus, training.global_batch or own)


def _batches(settings: Settings, gpus: int) -> list[int]:
    """The micro-batches that make the same samples a step."""
    training = settings.training
    keys = {"training.batch_size", "training.gradient_accumulation_steps"}
    if training.pack_tokens or settings.given & keys:
        return [training.batch_size]
    mine = _step_samples(settings, gpus) // gpus
    return [batch for batch in range(1, min(mine, 64) + 1) if mine % batch == 0]


def _taken(settings: Settings, row: Row, gpus: int) -> Settings:
    """The settings with the row's choices in them."""
    setup, training = row.setup, settings.training
    batch = training.batch_size if training.pack_tokens else row.micro_batch
    accumulation = max(1, _step_samples(settings, gpus) // (batch * gpus))
    changed = _training(
        settings,
        gradient_checkpointing=setup.checkpointing,
        checkpoint_layers=setup.checkpoint_layers or 0,
        batch_size=batch,
        gradient_accumulation_steps=accumulation,
    )
    zero = replace(
        settings.deepspeed,
        stage=setup.stage,
        offload_optimizer="cpu" if setup.offload_optimizer else "none",
        offload_param="cpu" if setup.offload_param else "none",
    )
    return with_global_batch(replace(changed, deepspeed=zero), gpus)


def _training(settings: Settings, **changes: object) -> Settings:
    return replace(settings, training=replace(settings.training, **changes))  # pyright: ignore[reportArgumentType]  # names of the section


def _reason(settings: Settings, row: Row, rows: Sequence[Row]) -> str:
    """Why this row: what the next faster one lacked."""
    chosen = (
        f"plan: {_words(row)}: {row.need.gpu / GIB:.1f} GiB a card, about "
        f"{row.tokens_per_s:,.0f} tokens/s expected"
    )
    if not row.fits:
        return f"{chosen}; nothing that the file leaves open fits, this needs least."
    faster = [one for one in rows if one.tokens_per_s > row.tokens_per_s]
    if not faster:
        kept = "" if not settings.given & _PLANNED else " (keys of the file were kept)"
        return f"{chosen}; the fastest of {len(rows)} set-ups{kept}."
    last = faster[-1]
    return f"{chosen}; the next faster, {_words(last)}, {last.verdict}."


_PLANNED = frozenset(
    {
        "training.batch_size",
        "training.gradient_checkpointing",
        "training.checkpoint_layers",
        "deepspeed.stage",
        "deepspeed.offload_optimizer",
        "deepspeed.offload_param",
    }
)


def _words(row: Row) -> str:
    setup = row.setup
    offload = (
        "optimizer and parameters offloaded"
        if setup.offload_param
        else "optimizer offloaded"
        if setup.offload_optimizer
        else "no offload"
    )
    if not setup.checkpointing:
        recomputed = "no checkpointing"
    elif setup.checkpoint_layers is None:
        recomputed = "checkpointing"
    else:
        recomputed = f"the first {setup.checkpoint_layers} layers checkpointed"
    return f"ZeRO stage {setup.stage}, {offload}, {recomputed}, micro-batches of {setup.tokens:,} tokens"


def _hints(settings: Settings) -> tuple[str, ...]:
    """What would be faster still but changes what a step holds, so it is the user's to ask for."""
    if settings.training.pack_tokens:
        return ()
    hint = (
        "plan: packing (training.pack_tokens, as 8192) keeps a GPU far busier than single samples; "
        "it is not switched on by itself, because a step then holds as many samples as fit."
    )
    return (hint,)


def _changes(settings: Settings, row: Row) -> str:
    """The keys to change for this row, as they would be written."""
    training, zero, setup = settings.training, settings.deepspeed, row.setup
    wanted: list[tuple[str, object, object]] = [
        ("deepspeed.stage", zero.stage, setup.stage),
        ("deepspeed.offload_optimizer", zero.offload_optimizer,
         "cpu" if setup.offload_optimizer else "none"),
        ("training.gradient_checkpointing", training.gradient_checkpointing, setup.checkpointing),
    ]  # fmt: skip
    if setup.stage == 3:
        param = "cpu" if setup.offload_param else "none"
        wanted.append(("deepspeed.offload_param", zero.offload_param, param))
    if setup.checkpointing and setup.checkpoint_layers != (training.checkpoint_layers or None):
        wanted.append(("training.checkpoint_layers", None, setup.checkpoint_layers or 0))
    if row.micro_batch != training.batch_size and not training.pack_tokens:
        wanted.append(("training.batch_size", training.batch_size, row.micro_batch))
        if not training.global_batch:  # as many samples a step as before
            old = training.gradient_accumulation_steps
            more = old * training.batch_size // row.micro_batch
            wanted.append(("training.gradient_accumulation_steps", old, more))
    return ", ".join(f"{key} {_json(new)}" for key, old, new in wanted if old != new)


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
