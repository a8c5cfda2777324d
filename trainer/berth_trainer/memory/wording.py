"""Sentences about a memory plan: why a set-up was chosen, and what would fit instead."""

from __future__ import annotations

from collections.abc import Sequence

from berth_trainer.config.settings import Settings
from berth_trainer.memory.search import Row
from berth_trainer.memory.sizes import GIB


def reason(settings: Settings, row: Row, rows: Sequence[Row]) -> str:
    """Return why this row was chosen: what the next faster one lacked."""
    chosen = (
        f"plan: {_setup_words(row)}: {row.need.gpu / GIB:.1f} GiB per GPU, about "
        f"{row.tokens_per_s:,.0f} tokens/s expected"
    )
    if not row.fits:
        return f"{chosen}; nothing that the file leaves open fits, and this needs least."
    faster = [one for one in rows if one.tokens_per_s > row.tokens_per_s]
    if not faster:
        kept = "" if not settings.given & _DECIDED else " (keys in the file were kept)"
        return f"{chosen}; the fastest of {len(rows)} set-ups{kept}."
    last = faster[-1]
    return f"{chosen}; the next faster, {_setup_words(last)}, {last.verdict}."


_DECIDED = frozenset(
    {
        "training.batch_size",
        "training.gradient_checkpointing",
        "training.checkpoint_layers",
        "deepspeed.stage",
        "deepspeed.offload_optimizer",
        "deepspeed.offload_param",
    }
)


def _setup_words(row: Row) -> str:
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


def hints(settings: Settings) -> tuple[str, ...]:
    """Return what would be faster still but changes what a step holds: the user must ask for it."""
    if settings.training.pack_tokens:
        return ()
    hint = (
        "plan: packing (training.pack_tokens, for example 8192) keeps a GPU far busier than single "
        "samples; it is never switched on automatically, because a step then holds as many samples "
        "as fit."
    )
    return (hint,)


def changes(settings: Settings, row: Row) -> str:
    """Return the keys to change for this row, as the file would have them."""
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
