"""
Peak memory of one set-up, with its parts.

The formula per GPU, N ranks, P parameters, T tokens in the micro-batch, L layers, h hidden:

    peak = max(states + kept + max(loss, one layer), states + update) + gathers + context

where `kept` are the layer inputs (2·T·h·L, with checkpointing) or all activations (c·T·L), and
`loss` is 12·T·V for the stock loss: bf16 logits, their fp32 copy and gradients (measured as six
bf16 copies at the peak of the backward pass), or that of one chunk plus 2.5 copies of the head's
gradient. docs/trainer.md compares it with measured runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from berth_trainer.memory.shape import ModelShape

GIB = 1 << 30
CONTEXT_BYTES = int(1.3 * GIB)
"""CUDA context, cuBLAS workspaces and NCCL's buffers of one rank."""
LIVE_PARAMETERS = 1_000_000_000
"""DeepSpeed's default for stage3_max_live_parameters."""
SUB_GROUP = 1_000_000_000
"""DeepSpeed's default for sub_group_size, in parameters."""
BUCKET_BYTES = 2 * 500_000_000
"""DeepSpeed's default reduce bucket, in bf16."""
HOST_FACTOR = 1.5
"""Pinned buffers and copies beside the states themselves, as large offloaded runs showed."""
HOST_PER_RANK_BYTES = 4 * GIB
"""What one rank's Python, torch and data take on the host."""

MasterStates = Literal["fp32", "bf16"]
Loss = Literal["stock", "chunked"]


@dataclass(frozen=True)
class Setup:
    """One way to run: everything that moves the peak."""

    gpus: int = 1
    stage: Literal[0, 1, 2, 3] = 3
    offload_optimizer: bool = False
    offload_param: bool = False
    """Needs stage 3."""
    states: MasterStates = "fp32"
    """Precision of master weights and Adam's moments; bf16 rounds small updates away."""
    checkpointing: bool = True
    loss: Loss = "stock"
    chunk_tokens: int = 256
    tokens: int = 2048
    """Tokens of one micro-batch on one GPU, padding included."""
    lora_parameters: int | None = None
    """Trained scalars with LoRA; absent for full fine-tuning."""


@dataclass(frozen=True)
class Estimate:
    """What a set-up needs at its peak, bytes. `gpu` is per card, `host` for the whole box."""

    gpu: int
    host: int
    parts: dict[str, int]
    """Of one GPU at the peak, by name; they add up to `gpu`."""


def estimate(shape: ModelShape, setup: Setup) -> Estimate:
    """Estimate the peaks of `setup`. Raises ValueError for an impossible combination."""
    if setup.offload_param and setup.stage != 3:
        raise ValueError("Parameters can be offloaded under ZeRO stage 3 only.")
    if setup.gpus < 1 or setup.tokens < 1:
        raise ValueError("A run needs at least one GPU and one token.")
    states = _states(shape, setup)
    kept = _kept(shape, setup)
    transient = max(_loss(shape, setup), _layer(shape, setup))
    update = _update(shape, setup)
    gathers = _gathers(shape, setup)
    parts = {"model states": states}
    if kept + transient >= update:
        parts |= {"activations kept": kept, "loss or one layer": transient}
    else:
        parts |= {"optimizer step": update}
    parts |= {"gathers and buckets": gathers, "CUDA context": CONTEXT_BYTES}
    return Estimate(gpu=sum(parts.values()), host=_host(shape, setup), parts=parts)


def _trained(shape: ModelShape, setup: Setup) -> int:
    return shape.parameters if setup.lora_parameters is None else setup.lora_parameters


def _state_bytes(setup: Setup) -> tuple[float, float, float]:
    """Bytes per parameter of weights, gradients, and optimizer with master weights."""
    # Counted from live tensors after two steps: 16.1 in all with fp32 states, 10.1 with bf16.
    return (2.05, 2.05, 12.0) if setup.states == "fp32" else (2.05, 2.05, 6.0)


def _states(shape: ModelShape, setup: Setup) -> int:
    weight, gradient, optimizer = _state_bytes(setup)
    trained, n = _trained(shape, setup), setup.gpus
    held = weight * shape.parameters / (n if setup.stage == 3 else 1)
    if setup.offload_param:
        held = 0.0
    gradients = gradient * trained / (n if setup.stage >= 2 else 1)
    if setup.offload_optimizer:
        # Gradients leave for the host bucket by bucket as they are made.
        gradients = min(gradients, BUCKET_BYTES)
        return int(held + gradients)
    return int(held + gradients + optimizer * trained / (n if setup.stage >= 1 else 1))


def _kept(shape: ModelShape, setup: Setup) -> int:
    if setup.checkpointing:
        return 2 * setup.tokens * shape.hidden * shape.layers
    return int(shape.activation_bytes * setup.tokens * shape.layers)


def _layer(shape: ModelShape, setup: Setup) -> int:
    """One layer recomputed during the backward pass."""
    return int(shape.activation_bytes * setup.tokens) if setup.checkpointing else 0


def _loss(shape: ModelShape, setup: Setup) -> int:
    if setup.loss == "stock":
        return 12 * setup.tokens * shape.vocabulary
    head_gradients = 0 if setup.lora_parameters is not None else int(2.5 * 2 * shape.embedding)
    return 12 * min(setup.chunk_tokens, setup.tokens) * shape.vocabulary + head_gradients


def _update(shape: ModelShape, setup: Setup) -> int:
    if setup.offload_optimizer:
        return 0
    share = _trained(shape, setup) / (setup.gpus if setup.stage >= 1 else 1)
    return int(4 * min(share, SUB_GROUP))


def _gathers(shape: ModelShape, setup: Setup) -> int:
    """The embedding whole, with its gradient when it is trained, prefetched layers, a bucket."""
    if setup.stage != 3:
        return BUCKET_BYTES if setup.gpus > 1 else 0
    embedding = 2 * shape.embedding * (1 if setup.lora_parameters is not None else 2)
    if setup.gpus == 1 and not setup.offload_param:
        return embedding  # one rank's partition is the whole: nothing else is gathered
    live = 2 * min(LIVE_PARAMETERS, shape.parameters - shape.embedding)
    return embedding + live + (BUCKET_BYTES if setup.gpus > 1 else 0)


def _host(shape: ModelShape, setup: Setup) -> int:
    weight, gradient, optimizer = _state_bytes(setup)
    trained = _trained(shape, setup)
    states = 0.0
    if setup.offload_optimizer:
        states += (gradient + optimizer) * trained
    if setup.offload_param:
        states += weight * shape.parameters
    return int(HOST_FACTOR * states) + HOST_PER_RANK_BYTES * setup.gpus
