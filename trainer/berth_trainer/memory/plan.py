"""Which set-ups fit a budget, and which of them to take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from berth_trainer.memory.estimate import GIB, Estimate, Setup, estimate
from berth_trainer.memory.shape import ModelShape

MARGIN = 0.05
"""Share of a card that the plan leaves free: the formula met measured runs within 3 %."""
OFFLOADS = ((False, False), (True, False), (True, True))
LENGTHS = (1024, 2048, 4096, 8192)
MICRO_BATCHES = (1, 2, 4, 8)

# A rough time model whose only use is to order rows. Seconds on an H100-class card: achieved
# matrix rate, link to the other cards, and Adam on the host at its memory's speed.
_FLOPS_PER_S = 3.5e14
_LINK_BYTES_PER_S = 2e11
_HOST_LINK_BYTES_PER_S = 2.5e10
_HOST_ADAM_BYTES_PER_S = 1e11


@dataclass(frozen=True)
class Budget:
    """What the box gives: bytes per card, bytes of host memory for the whole run."""

    gpu: int
    host: int

    def fits(self, need: Estimate, margin: float = MARGIN) -> bool:
        """Whether the need stays under the budget with `margin` of each card left free."""
        return need.gpu <= self.gpu * (1 - margin) and need.host <= self.host


@dataclass(frozen=True)
class Row:
    """One set-up with what it needs."""

    setup: Setup
    length: int
    micro_batch: int
    need: Estimate
    fits: bool
    seconds_per_token: float
    """Of the rough time model; good for ordering rows, not as a promise."""

    @property
    def verdict(self) -> str:
        """`fits`, or what is short, in words."""
        return "fits" if self.fits else f"needs {self.need.gpu / GIB:.1f} GiB a card"


def plan(
    shape: ModelShape,
    budget: Budget,
    base: Setup,
    *,
    lengths: Iterable[int] = LENGTHS,
    micro_batches: Iterable[int] = MICRO_BATCHES,
    step_tokens: int = 32_768,
) -> list[Row]:
    """
    Every offload, checkpointing, loss, length and micro-batch around `base`, fastest first.

    `step_tokens` is how many tokens one GPU sees per optimizer step (micro-batch times length
    times accumulation): offloading costs once a step, so it weighs less the larger that is.
    """
    rows: list[Row] = []
    choices = product(
        OFFLOADS, (True, False), ("chunked", "stock"), tuple(lengths), tuple(micro_batches)
    )
    for (optimizer, param), checkpointing, loss, length, batch in choices:
        if param and base.stage != 3:
            continue
        setup = replace(
            base,
            offload_optimizer=optimizer,
            offload_param=param,
            checkpointing=checkpointing,
            loss=loss,
            tokens=length * batch,
        )
        need = estimate(shape, setup)
        seconds = _seconds_per_token(shape, setup, max(step_tokens, setup.tokens))
        rows.append(Row(setup, length, batch, need, budget.fits(need), seconds))
    return sorted(rows, key=lambda row: (row.seconds_per_token, row.need.gpu))


def choose(rows: Sequence[Row], length: int | None = None) -> Row | None:
    """The fastest row that fits, of the given length only where one is named."""
    wanted = (row for row in rows if row.fits and length in {None, row.length})
    return next(wanted, None)


def _seconds_per_token(shape: ModelShape, setup: Setup, step_tokens: int) -> float:
    # 6 FLOP per parameter and token; checkpointing computes the forward pass twice.
    flops = (8 if setup.checkpointing else 6) * shape.parameters
    compute = flops / _FLOPS_PER_S
    moved = 3 * 2 * shape.parameters if setup.stage == 3 and setup.gpus > 1 else 0
    gathers = moved / _LINK_BYTES_PER_S / setup.tokens
    if setup.offload_param:
        gathers += 2 * 2 * shape.parameters / setup.gpus / _HOST_LINK_BYTES_PER_S / setup.tokens
    step = 0.0
    if setup.offload_optimizer:
        trained = shape.parameters if setup.lora_parameters is None else setup.lora_parameters
        step = 16 * trained / _HOST_ADAM_BYTES_PER_S + 4 * trained / _HOST_LINK_BYTES_PER_S
    return compute + gathers + step / step_tokens
