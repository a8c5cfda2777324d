"""
Peak memory of a set-up, with its parts.

The formula per GPU, N ranks, P parameters, T tokens in the micro-batch, L layers, h hidden:

    peak = states + max(kept + max(loss, backward) + gathers, last gradients, update)
           + fragmentation + context

where `kept` are the inputs of recomputed layers (2·T·h each) and all activations of the others
(c·T each); `loss` is 12·T·V for the stock loss: bf16 logits, their fp32 copy and gradients
(measured as six bf16 copies at the peak of the backward pass), or that of one chunk and the
gradient of the head, of which every chunk but the first makes one more for a moment; `backward`
is a recomputed layer, what one layer's gradients take, and the head's gradient, which stays until
the embedding's is added to it. `last gradients` is the end of the backward pass. `states` depend on the ZeRO stage in a way that was counted from
live tensors of real DeepSpeed engines, and `update` in one that was measured phase by phase on a
GPU. docs/trainer.md compares the sum with measured runs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from berth_trainer.memory.shape import ModelShape
from berth_trainer.memory.sizes import GIB

CONTEXT_BYTES = int(1.3 * GIB)
"""CUDA context and cuBLAS workspaces of one rank."""
CHANNELS_BYTES = int(0.7 * GIB)
"""Further memory of NCCL where there are several ranks."""
LIVE_PARAMETERS = 1_000_000_000
"""DeepSpeed's default for stage3_max_live_parameters."""
SUB_GROUP = 1_000_000_000
"""Parameters that one optimizer call updates: sub_group_size, and our own groups below stage 3."""
FRAGMENTATION = 0.01
"""Share of what is allocated that lies unused between blocks, with rows of one shape."""
HOST_STATES = 1.32
"""Host memory of offloaded optimizer states over their own size, gradients among them, measured."""
HOST_WEIGHTS = 2.6
"""The same for offloaded weights, which DeepSpeed copies and pins."""
HOST_PER_RANK_BYTES = 4 * GIB
"""Memory of one rank's Python, torch and data on the host."""
FOUR_BIT = 0.53
"""Bytes of one weight in nf4 with its block scales quantised again."""

States = Literal["fp32", "bf16", "8bit", "bf16_only"]
Loss = Literal["stock", "chunked"]

OPTIMIZER_BYTES: dict[str, float] = {"fp32": 12.0, "bf16": 6.0, "8bit": 6.1, "bf16_only": 4.0}
"""Bytes per trained parameter of master weights and Adam's two moments."""


@dataclass(frozen=True)
class Setup:
    """A set-up: every choice that changes the peak."""

    gpus: int = 1
    stage: Literal[0, 1, 2, 3] = 3
    offload_optimizer: bool = False
    offload_param: bool = False
    """Needs stage 3."""
    states: States = "fp32"
    """
    States that the optimizer keeps. `bf16` rounds small updates away; `8bit` has fp32 master weights
    and moments of a byte; `bf16_only` has no master copy at all, as plain torch AdamW on a bf16
    model: the trainer does not offer it, it stands here for comparison.
    """
    checkpointing: bool = True
    checkpoint_layers: int | None = None
    """Number of layers, from the first, that are recomputed; absent: all of them."""
    fused: bool = False
    """Use the layers of `berth_trainer.model.fused_layers`, which keep fewer activations."""
    compiled: bool = False
    """Compile the fused layers: the same memory, faster."""
    loss: Loss = "stock"
    chunk_tokens: int = 256
    tokens: int = 2048
    """Tokens of one micro-batch on one GPU, padding included."""
    span: int | None = None
    """The longest sample, in tokens, where attention goes by samples; absent: the micro-batch."""
    label_tokens: int | None = None
    """Most of `tokens` that the loss counts; absent: all of them."""
    lora_parameters: int | None = None
    """Trained scalars with LoRA; absent for full fine-tuning."""
    four_bit: bool = False
    """QLoRA: the frozen linear layers in 4 bits."""
    by_layers: bool = True
    """Under stage 3: Berth's hooks at whole layers, or else DeepSpeed's at each module."""

    def recomputed(self, layers: int) -> int:
        """Return how many of `layers` are recomputed in the backward pass."""
        if not self.checkpointing:
            return 0
        return layers if self.checkpoint_layers is None else min(self.checkpoint_layers, layers)


def setup_json(setup: Setup) -> dict[str, Any]:
    """Return the set-up as `plan.json` and `berth plan --json` write it."""
    facts = asdict(setup)
    facts["learned_tokens"] = facts.pop("label_tokens")
    return facts


@dataclass(frozen=True)
class Estimate:
    """Peak memory in bytes; `gpu` is per GPU, `host` for the whole machine."""

    gpu: int
    host: int
    parts: dict[str, int]
    """Of one GPU at the peak, by name; they add up to `gpu`."""

    @property
    def allocated(self) -> int:
        """The part of `gpu` that torch's allocator holds: without the CUDA context."""
        return self.gpu - self.parts["CUDA context"]


def estimate(shape: ModelShape, setup: Setup) -> Estimate:
    """Estimate the peaks of `setup`. Raises ValueError for an impossible combination."""
    _check(setup)
    states = _states(shape, setup)
    kept, gathers, update = _kept(shape, setup), _gathers(shape, setup), _update(shape, setup)
    backward = _backward(shape, setup) + _partition(shape, setup)
    transient = max(_loss(shape, setup), backward)
    last = _last_gradients(shape, setup)
    parts = {"model states": states}
    if kept + transient + gathers >= max(last, update):
        parts |= {"activations kept": kept, "loss or one layer": transient}
        parts |= {"gathers and buckets": gathers}
    elif last > update:
        parts |= {"last gradients": last}
    else:
        parts |= {"optimizer step": update}
    parts |= {"fragmentation": int(FRAGMENTATION * sum(parts.values()))}
    parts |= {"CUDA context": CONTEXT_BYTES + (CHANNELS_BYTES if setup.gpus > 1 else 0)}
    return Estimate(gpu=sum(parts.values()), host=_host(shape, setup), parts=parts)


def _check(setup: Setup) -> None:
    if setup.offload_param and setup.stage != 3:
        raise ValueError("Parameters can be offloaded under ZeRO stage 3 only.")
    if setup.offload_optimizer and setup.stage == 0:
        raise ValueError("The optimizer can be offloaded under ZeRO stages 1 to 3 only.")
    if setup.gpus < 1 or setup.tokens < 1:
        raise ValueError("A run needs at least one GPU and one token.")
    if setup.four_bit and (setup.lora_parameters is None or setup.stage == 3):
        raise ValueError("Weights in 4 bits need LoRA, and a ZeRO stage below 3.")


def _trained(shape: ModelShape, setup: Setup) -> int:
    return shape.parameters if setup.lora_parameters is None else setup.lora_parameters


def _weights(shape: ModelShape, setup: Setup) -> float:
    """Return the bytes of the weights of the whole model and its adapters, in bf16."""
    adapters = 2.0 * (setup.lora_parameters or 0)
    if setup.four_bit:
        return adapters + FOUR_BIT * shape.linears + 2.0 * (shape.parameters - shape.linears)
    return adapters + 2.0 * shape.parameters


def _states(shape: ModelShape, setup: Setup) -> int:
    trained, n = _trained(shape, setup), setup.gpus
    share = n if setup.stage >= 1 else 1
    held = _weights(shape, setup) / (n if setup.stage == 3 else 1)
    if setup.offload_param:
        held = 0.0
    gradients = 2.0 * trained / (n if setup.stage >= 2 else 1)
    if setup.stage == 2:
        gradients = _partition(shape, setup) or gradients
    if setup.offload_optimizer:
        # Below stage 3 a buffer carries one gradient after the other to the host; from stage 2
        # on they leave as they are made.
        buffer = 2 * _largest(shape, setup) if setup.stage < 3 else 0
        return int(held + buffer + (gradients if setup.stage == 1 else 0))
    # Stage 3 pads partitions and keeps small parameters on every GPU: 0.1 of 16.1, counted.
    slack = 0.1 * trained / n if setup.stage == 3 else 0.0
    return int(held + gradients + slack + OPTIMIZER_BYTES[setup.states] * trained / share)


def _partition(shape: ModelShape, setup: Setup) -> int:
    """
    Return one rank's gradient partition below stage 3: DeepSpeed makes the buffer
    whole when the first of them is reduced, which on the last rank is at the very beginning of
    the backward pass. A parameter that lies in several parts counts whole in each: the embedding,
    which begins its group, in the last part that it reaches.
    """
    if setup.gpus == 1 or setup.stage not in {1, 2} or setup.offload_optimizer:
        return 0
    trained, largest = _trained(shape, setup), _largest(shape, setup)
    part = max(min(trained, SUB_GROUP), largest) / setup.gpus
    reached = min(setup.gpus, math.ceil(largest / part)) - 1
    return int(2 * (trained / setup.gpus + reached * part))


def _largest(shape: ModelShape, setup: Setup) -> int:
    """Return the size of the largest trained tensor, in scalars."""
    if setup.lora_parameters is not None:
        return shape.hidden * shape.intermediate // shape.layers
    return shape.embedding


def _kept(shape: ModelShape, setup: Setup) -> int:
    again = setup.recomputed(shape.layers)
    whole = shape.activation_bytes(fused=setup.fused) * (shape.layers - again)
    return int(setup.tokens * (2 * shape.hidden * again + whole))


def _backward(shape: ModelShape, setup: Setup) -> int:
    """
    Return what the layers' backward pass needs in addition to what is kept.

    A layer that is recomputed counts where all are: where some are not, those are the last ones,
    whose activations are gone by then. The gradients within a gated block of fused layers were
    measured as four of its widest tensors; stock layers free as much as they make.
    """
    again = setup.recomputed(shape.layers) == shape.layers
    layer = shape.activation_bytes(fused=setup.fused) if again else 0
    gradients = 8 * shape.intermediate if setup.fused else 0
    return int(setup.tokens * (layer + gradients)) + _head_gradient(shape, setup)


def _head_gradient(shape: ModelShape, setup: Setup) -> int:
    return 0 if setup.lora_parameters is not None else 2 * shape.embedding


def _loss(shape: ModelShape, setup: Setup) -> int:
    labels = setup.tokens if setup.label_tokens is None else setup.label_tokens
    if setup.loss == "stock":
        return 12 * setup.tokens * shape.vocabulary
    chunk = min(setup.chunk_tokens, labels)
    head = _head_gradient(shape, setup)
    first = max(12 * chunk * shape.vocabulary, 2 * chunk * shape.vocabulary + head)
    return first if labels <= setup.chunk_tokens else head + first


def _last_gradients(shape: ModelShape, setup: Setup) -> int:
    """
    Return the need at the end of the backward pass, where nothing is kept and the embedding, the largest
    parameter, has its gradient: the head's and its own, and where gradients travel a copy in
    stage 2. On the way to the host the sum in fp32 and a copy: measured as 8 bytes of it in stage
    1, 10 in stage 2, 10 to 10.6 in stage 3 (11.4 with Berth's own hooks), all but the first two gradients divided among the
    ranks; there the weights themselves are still gathered if all of them may live at once. Stage
    2 has all gradients of this micro-batch in addition to those of the earlier ones.
    """
    largest = _largest(shape, setup)
    if setup.offload_optimizer:
        live = setup.offload_param and shape.parameters <= LIVE_PARAMETERS
        gathered = 2 * shape.embedding if live else 0
        travelling = 7.4 if setup.by_layers else 6.3
        summed = {1: 8, 2: 10, 3: 4 + travelling / setup.gpus}[setup.stage]
        return gathered + int(summed * largest)
    partition = _partition(shape, setup)
    if setup.stage == 2:
        return (partition + 6 * largest) if partition else 2 * _trained(shape, setup) + 4 * largest
    return partition + 4 * largest + _alone(largest)


def _alone(largest: int) -> int:
    """
    Return one more gradient copy for a parameter that is a group of its own: the 27b embedding was measured with
    one copy more of its gradient, at the end of the backward pass as well as in the update.
    """
    return 2 * largest if largest > SUB_GROUP else 0


def _update(shape: ModelShape, setup: Setup) -> int:
    """
    Return the need of the update: a group's fp32 gradient, and its flat bf16 copy, alone with bf16 states.
    In stage 1 on several ranks the gradients that others update are gone by then.
    """
    if setup.offload_optimizer:
        return 0
    trained, n = _trained(shape, setup), setup.gpus
    bytes_each = 2.4 if setup.states == "bf16" else 6
    if setup.stage == 0:
        return int(bytes_each * trained)
    if setup.stage == 3:
        return int(bytes_each * min(trained / n, SUB_GROUP))
    largest = _largest(shape, setup)
    group = max(min(trained, SUB_GROUP), largest)
    gone = 2 * trained - _partition(shape, setup) if setup.stage == 1 and n > 1 else 0
    return max(0, int((bytes_each * group + _alone(largest)) / n) - gone)


def _gathers(shape: ModelShape, setup: Setup) -> int:
    """
    Return the gathered weights under stage 3: as many as may live at once, but at least the
    embedding and a layer in any case (by layers one in use, one coming, in two copies, and one
    whose gradients are reduced). And buckets, two where communication overlaps.
    """
    buckets = 2 * 2 * shape.hidden**2 if setup.gpus > 1 else 0
    if setup.stage != 3 or (setup.gpus == 1 and not setup.offload_param):
        return buckets  # one rank's partition is the whole
    least = shape.embedding + (4 if setup.by_layers else 1) * shape.layer
    return buckets + 2 * min(shape.parameters, max(LIVE_PARAMETERS, least))


def _host(shape: ModelShape, setup: Setup) -> int:
    held = 0.0
    if setup.offload_optimizer:
        held += HOST_STATES * (2.0 + OPTIMIZER_BYTES[setup.states]) * _trained(shape, setup)
    if setup.offload_param:
        held += HOST_WEIGHTS * _weights(shape, setup)
    return int(held) + HOST_PER_RANK_BYTES * setup.gpus
