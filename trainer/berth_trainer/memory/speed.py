"""
How fast a set-up would be: a rough time model that orders rows, no promise.

Calibrated on four runs of a Gemma-3 of the 4b shape on one H200 (docs/trainer.md): two of plain
torch give the rates of linear layers and attention, two under ZeRO-3 what its hooks cost. Links
between cards and to the host are taken from data sheets. A slower card shifts all rows alike.
"""

from __future__ import annotations

from berth_trainer.memory.estimate import Setup
from berth_trainer.memory.shape import ModelShape

_MATRIX_FLOPS = 3.0e14
"""Achieved in the linear layers, with all that lies between them: 38 % of an H200's peak."""
_ATTENTION_FLOPS = 4.9e14
_HOOKS_S = 0.29 / 34
"""What ZeRO-3 costs a micro-batch and layer on one GPU, where nothing travels."""
_LINK_BYTES = 2e11
"""NVLink, achieved, a second and card."""
_HOST_LINK_BYTES = 2.5e10
"""PCIe, achieved, a second and card."""
_HOST_ADAM_BYTES = 1e11
"""Memory traffic of Adam on the host's cores, a second and box."""


def tokens_per_s(
    shape: ModelShape, setup: Setup, *, micro_batch: int = 1, step_tokens: int = 32_768
) -> float:
    """
    Of all cards together, padding counted as tokens.

    `step_tokens` is how many tokens one GPU sees per optimizer step (micro-batch times length
    times accumulation): offloading costs once a step, so it weighs less the larger that is.
    """
    seconds = _micro_batch_s(shape, setup, micro_batch)
    steps = max(1.0, step_tokens / setup.tokens)
    return setup.gpus * setup.tokens / (seconds + _step_s(shape, setup) / steps)


def _micro_batch_s(shape: ModelShape, setup: Setup, micro_batch: int) -> float:
    """Forward and backward pass. 2 FLOP a weight and token forward, 4 backward, 2 again."""
    again = setup.recomputed(shape.layers) / shape.layers
    backward = 2 if setup.lora_parameters is not None else 4
    matrix = (2 + backward + 2 * again) * shape.parameters * setup.tokens / _MATRIX_FLOPS
    seen = setup.tokens / max(1, micro_batch)
    pairs = (3.5 + again) * 4 * seen * setup.tokens * shape.queries * shape.layers
    return matrix + pairs / _ATTENTION_FLOPS + _traffic_s(shape, setup)


def _traffic_s(shape: ModelShape, setup: Setup) -> float:
    """What moves in every micro-batch."""
    weights = 2.0 * shape.parameters
    moved = 0.0
    if setup.stage == 3:
        moved += _HOOKS_S * shape.layers
        if setup.gpus > 1:
            moved += 3 * weights / _LINK_BYTES
    if setup.stage == 2 and setup.gpus > 1:
        moved += _trained(shape, setup) * 2.0 / _LINK_BYTES
    if setup.offload_param:
        moved += 2 * weights / setup.gpus / _HOST_LINK_BYTES
    if setup.offload_optimizer and setup.stage >= 2:
        moved += 2.0 * _trained(shape, setup) / setup.gpus / _HOST_LINK_BYTES
    return moved


def _step_s(shape: ModelShape, setup: Setup) -> float:
    """What happens once in an optimizer step."""
    trained = _trained(shape, setup)
    if setup.offload_optimizer:
        return 28 * trained / _HOST_ADAM_BYTES + 4 * trained / setup.gpus / _HOST_LINK_BYTES
    reduced = 4.0 * trained / _LINK_BYTES if setup.gpus > 1 and setup.stage < 3 else 0.0
    return reduced + 36 * trained / setup.gpus / 3e12


def _trained(shape: ModelShape, setup: Setup) -> int:
    return shape.parameters if setup.lora_parameters is None else setup.lora_parameters
