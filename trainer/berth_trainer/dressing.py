"""What a model is given after loading and before DeepSpeed wraps it, in this order."""

from typing import Any

from berth_trainer import checkpointing, gathering
from berth_trainer.lora import add_adapter
from berth_trainer.settings import Settings


def dressed(model: Any, settings: Settings) -> Any:
    """The model with its adapter, with layers that are recomputed, and that are gathered whole."""
    training = settings.training
    if settings.lora.r:
        model = add_adapter(model, settings.lora)
    if training.gradient_checkpointing:
        checkpointing.enable(model, training.checkpoint_layers)
    if gathering.by_layers(settings.deepspeed):
        gathering.gather_layers(model)
    return model
