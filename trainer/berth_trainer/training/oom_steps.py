"""Out-of-memory ladder: each step makes a run smaller and keeps the samples of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from berth_trainer.config.settings import DeepSpeedSettings, Settings, TrainingSettings

STEPS_VARIABLE = "BERTH_OOM_STEPS"


def apply(
    settings: Settings, steps: str, *, cpu_adam: bool = True
) -> tuple[Settings, tuple[str, ...]]:
    """
    Apply the `steps` (names joined by commas) that earlier attempts lacked.

    `cpu_adam`: DeepSpeed's Adam for the host can be built, without which states in bf16 stay
    where they are.

    Returns the smaller settings and a sentence for each step; a step with nothing left to
    change is replaced by the next one.
    """
    notes: list[str] = []
    for name in [step.strip() for step in steps.split(",") if step.strip()]:
        wanted = _LEVERS.get(name)
        if wanted is None:
            notes.append(f"out of memory before: unknown step {name}, skipped.")
            continue
        for lever in (wanted, *(other for other in _LEVERS.values() if other is not wanted)):
            turned = _offload(settings, cpu_adam=cpu_adam) if lever is _offload else lever(settings)
            if turned is not None:
                settings, what = turned
                notes.append(f"out of memory before, so: {what}.")
                break
        else:
            notes.append(f"out of memory before, and nothing is left to change for {name}.")
    return settings, tuple(notes)


Turned = tuple[Settings, str] | None


def _halve(settings: Settings) -> Turned:
    training = settings.training
    more = training.gradient_accumulation_steps * 2
    if training.pack_tokens:
        half = training.pack_tokens // 2
        if half < training.max_length:
            return None
        changed = replace(training, pack_tokens=half, gradient_accumulation_steps=more)
        return _with(settings, training=changed), (
            f"rows of {half:,} tokens and {more} accumulation steps, the same tokens a step"
        )
    if training.batch_size % 2:
        return None
    half = training.batch_size // 2
    changed = replace(training, batch_size=half, gradient_accumulation_steps=more)
    return _with(settings, training=changed), (
        f"training.batch_size {half} and {more} accumulation steps, the same samples a step"
    )


def _checkpoint(settings: Settings) -> Turned:
    training = settings.training
    if training.gradient_checkpointing and not training.checkpoint_layers:
        return None
    changed = replace(training, gradient_checkpointing=True, checkpoint_layers=0)
    return _with(settings, training=changed), "activations of every layer are recomputed"


def _offload(settings: Settings, *, cpu_adam: bool = True) -> Turned:
    zero, states = settings.deepspeed, settings.training.optimizer_states
    movable = states == "fp32" or (states == "bf16" and cpu_adam)  # 8 bits: on a GPU alone
    if zero.offload_optimizer == "none" and movable:
        changed = replace(zero, offload_optimizer="cpu")
        return _with(settings, zero=changed), "the optimizer is offloaded to the host"
    if zero.offload_param == "none" and settings.lora.quantize == "none":
        changed = replace(zero, stage=3, offload_param="cpu")
        return _with(settings, zero=changed), "the parameters are offloaded to the host as well"
    return None


def _with(
    settings: Settings,
    *,
    training: TrainingSettings | None = None,
    zero: DeepSpeedSettings | None = None,
) -> Settings:
    return replace(
        settings, training=training or settings.training, deepspeed=zero or settings.deepspeed
    )


_LEVERS: dict[str, Callable[[Settings], Turned]] = {
    "halve_micro_batch": _halve,
    "checkpointing": _checkpoint,
    "offload": _offload,
}
