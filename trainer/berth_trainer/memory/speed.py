"""
Speed model of a set-up: a rough estimate that orders rows, not a promise.

Fitted to 35 runs of Gemma-3 of the 1b, 4b and 27b shapes on one and two H100 (docs/trainer.md):
compiled and not, with some, all and no layers recomputed, all stages, with the optimizer on the
host. A slower GPU shifts all rows alike.
"""

from __future__ import annotations

from berth_trainer.memory.estimate import Setup
from berth_trainer.memory.shape import ModelShape

_MATRIX_FLOPS = 5.3e14
"""Achieved in the linear layers alone: two thirds of the GPU's dense bf16 peak."""
_ATTENTION_FLOPS = 4.9e14
_ELEMENT_S = {"stock": 3.4e-10, "fused": 3.6e-10, "compiled": 5.5e-11}
"""Traffic between the linear layers: of one layer, a token and element of the hidden width."""
_LAUNCH_S = {"stock": 2.7e-3, "fused": 2.7e-3, "compiled": 1.9e-3}
"""Least time of Python and the driver for a layer's pass, of which there are three or four."""
_HOOKS_S = {"alone": 7e-3, "shared": 1.2e-2}
"""Cost of DeepSpeed's hooks for a micro-batch and layer, on one GPU and on several."""
_LAYER_HOOKS_S = 1e-3
"""Cost of Berth's own, on one GPU; on several they are not measured yet."""
_LINK_BYTES = 2e11
"""NVLink, achieved, a second and GPU."""
_REDUCED_BYTES = 2.2e10
"""Gradients that DeepSpeed reduces below stage 3, a second: one by one, each with its Python."""
_HOST_LINK_BYTES = 2.5e10
"""PCIe, achieved, a second and GPU."""
_HOST_ADAM_BYTES = 5.5e10
"""Memory traffic of DeepSpeed's Adam on 16 cores of the host, a second."""
_HOSTED_S = 4.2e-10
"""Time of a parameter whose fp32 states pass from the host through the GPU and back."""
_STEP_S = 0.09
"""Least time of DeepSpeed's step: looking for overflow, the norm, parameter by parameter."""


def tokens_per_s(
    shape: ModelShape, setup: Setup, *, micro_batch: int = 1, step_tokens: int = 32_768
) -> float:
    """
    Return tokens per second of all GPUs together, padding included.

    `step_tokens` is how many tokens one GPU sees per optimizer step (micro-batch times length
    times accumulation): offloading costs once a step, so it weighs less the larger that is.
    """
    seconds = _micro_batch_s(shape, setup, micro_batch)
    steps = max(1.0, step_tokens / setup.tokens)
    return setup.gpus * setup.tokens / (seconds + _step_s(shape, setup) / steps)


def _micro_batch_s(shape: ModelShape, setup: Setup, micro_batch: int) -> float:
    """
    Return seconds of a forward and backward pass. 2 FLOP a weight and token forward, 4 backward, 2 again; of the head
    only label tokens, where the loss comes in chunks.
    """
    again = setup.recomputed(shape.layers) / shape.layers
    backward = 2 if setup.lora_parameters is not None else 4
    whole = setup.loss == "stock" or setup.label_tokens is None
    labels = setup.tokens if whole else min(setup.tokens, setup.label_tokens or 0)
    linears = (2 + backward + 2 * again) * shape.linears * setup.tokens
    matrix = (linears + 6 * shape.embedding * labels) / _MATRIX_FLOPS
    seen = min(setup.span or setup.tokens, setup.tokens / max(1, micro_batch))
    pairs = (3.5 + again) * 4 * seen * setup.tokens * shape.queries * shape.layers
    kind = "compiled" if setup.fused and setup.compiled else "fused" if setup.fused else "stock"
    passes = (3 + again) * shape.layers
    between = _ELEMENT_S[kind] * passes / 3 * setup.tokens * shape.hidden
    computed = matrix + pairs / _ATTENTION_FLOPS + between
    return max(computed, _LAUNCH_S[kind] * passes) + _traffic_s(shape, setup)


def _traffic_s(shape: ModelShape, setup: Setup) -> float:
    """Return the seconds of communication in every micro-batch."""
    weights = 2.0 * shape.parameters
    moved = 0.0
    if setup.stage == 3:
        hooks = _HOOKS_S["shared" if setup.gpus > 1 else "alone"]
        if setup.by_layers and setup.gpus == 1:
            hooks = _LAYER_HOOKS_S
        moved += hooks * shape.layers + 3 * weights * _others(setup) / _LINK_BYTES
    if setup.stage == 2:
        moved += _reduced_s(shape, setup)
    if setup.offload_param:
        moved += 2 * weights / setup.gpus / _HOST_LINK_BYTES
    beside = setup.stage == 3 and setup.by_layers  # gradients leave while the GPU computes
    if setup.offload_optimizer and setup.stage >= 2 and not beside:
        moved += 2.0 * _trained(shape, setup) / setup.gpus / _HOST_LINK_BYTES
    return moved


def _reduced_s(shape: ModelShape, setup: Setup) -> float:
    return 2.0 * _trained(shape, setup) * _others(setup) / _REDUCED_BYTES


def _others(setup: Setup) -> float:
    """Return the share of all data that a GPU receives from others."""
    return (setup.gpus - 1) / setup.gpus


def _step_s(shape: ModelShape, setup: Setup) -> float:
    """Return the seconds of what happens once in an optimizer step."""
    trained = _trained(shape, setup)
    if setup.offload_optimizer and setup.stage == 3 and setup.states == "fp32":
        return _STEP_S + _HOSTED_S * trained / setup.gpus
    if setup.offload_optimizer:
        return (
            _STEP_S + 28 * trained / _HOST_ADAM_BYTES + 4 * trained / setup.gpus / _HOST_LINK_BYTES
        )
    # Every byte of gradients, states and weights is read and written once or twice.
    reduced = _reduced_s(shape, setup) if setup.stage < 2 else 0.0
    spread = 2.0 * trained * _others(setup) / _LINK_BYTES if setup.stage < 3 else 0.0
    return _STEP_S + reduced + spread + 60 * trained / setup.gpus / 3e12


def _trained(shape: ModelShape, setup: Setup) -> int:
    return shape.parameters if setup.lora_parameters is None else setup.lora_parameters
