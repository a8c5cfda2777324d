"""What a model is given after loading and before DeepSpeed wraps it, in this order."""

from typing import Any

from berth_trainer.config.settings import Settings
from berth_trainer.model import activation_checkpointing, zero3_leaf_layers
from berth_trainer.model.lora import add_adapter


def prepare_model(model: Any, settings: Settings) -> Any:
    """The model with its adapter, with layers that are recomputed, and that are gathered whole."""
    training = settings.training
    if settings.lora.r:
        model = add_adapter(model, settings.lora)
    if training.gradient_checkpointing:
        activation_checkpointing.enable(model, training.checkpoint_layers)
    if zero3_leaf_layers.by_layers(settings.deepspeed):
        zero3_leaf_layers.gather_layers(model)
    return model
