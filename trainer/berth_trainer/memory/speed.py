"""
How fast a set-up would be: a rough time model that orders rows, no promise.

Calibrated on runs of Gemma-3 of the 1b and 4b shapes on one H100 (docs/trainer.md): compiled and
not, with some, all and no layers recomputed, with the optimizer on the host; ZeRO-3's hooks on one
H200. Links between cards are taken from data sheets. A slower card shifts all rows alike.
"""

from __future__ import annotations

from berth_trainer.memory.estimate import Setup
from berth_trainer.memory.shape import ModelShape

_MATRIX_FLOPS = 5.2e14
"""Achieved in the linear layers alone: two thirds of the card's dense bf16 peak."""
_ATTENTION_FLOPS = 4.9e14
_ELEMENT_S = {"stock": 3.0e-10, "lean": 3.0e-10, "compiled": 4.5e-11}
"""What lies between the linear layers: of one layer, a token and element of the hidden width."""
_LAUNCH_S = 1.35e-3
"""What Python and the driver need at least for a layer's pass, of which there are three or four."""
_HOOKS_S = 0.29 / 34
"""What ZeRO-3 costs a micro-batch and layer on one GPU, where nothing travels."""
_LINK_BYTES = 2e11
"""NVLink, achieved, a second and card."""
_HOST_LINK_BYTES = 2.5e10
"""PCIe, achieved, a second and card."""
_HOST_ADAM_BYTES = 5.5e10
"""Memory traffic of DeepSpeed's Adam on 16 cores of the host, a second."""
_STEP_S = 0.05
"""What DeepSpeed's step takes at least: looking for overflow, the norm, parameter by parameter."""


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
    seen = min(setup.span or setup.tokens, setup.tokens / max(1, micro_batch))
    pairs = (3.5 + again) * 4 * seen * setup.tokens * shape.queries * shape.layers
    kind = "compiled" if setup.fused and setup.compiled else "lean" if setup.fused else "stock"
    passes = (3 + again) * shape.layers
    between = _ELEMENT_S[kind] * passes / 3 * setup.tokens * shape.hidden
    computed = matrix + pairs / _ATTENTION_FLOPS + between
    return max(computed, _LAUNCH_S * passes) + _traffic_s(shape, setup)


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
        return (
            _STEP_S + 28 * trained / _HOST_ADAM_BYTES + 4 * trained / setup.gpus / _HOST_LINK_BYTES
        )
    # Every byte of gradients, states and weights is read and written once or twice.
    reduced = 4.0 * trained / _LINK_BYTES if setup.gpus > 1 and setup.stage < 3 else 0.0
    return _STEP_S + reduced + 60 * trained / setup.gpus / 3e12


def _trained(shape: ModelShape, setup: Setup) -> int:
    return shape.parameters if setup.lora_parameters is None else setup.lora_parameters
