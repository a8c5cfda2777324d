"""Activation checkpointing of some or all decoder layers."""

from typing import Any


def enable(model: Any, layers: int) -> None:
    """
    Recompute the first `layers` decoder layers; 0: all.

    The first ones, because the backward pass comes to them last: what the others kept is gone by
    then, so one recomputed layer never lies on top of the peak.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})
    if layers:
        for layer in decoder_layers(model)[layers:]:
            layer.gradient_checkpointing = False


def decoder_layers(model: Any) -> list[Any]:
    """Return the layers that can be recomputed, in order."""
    return [module for module in model.modules() if is_layer(module)]


def is_layer(module: Any) -> bool:
    return any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(module).__mro__)
