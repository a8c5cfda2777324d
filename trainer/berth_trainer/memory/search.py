"""Search over set-ups: which fit a budget, and which is the fastest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from berth_trainer.memory.estimate import Estimate, Setup, estimate
from berth_trainer.memory.shape import ModelShape
from berth_trainer.memory.sizes import GIB
from berth_trainer.memory.speed import tokens_per_s

MARGIN = 0.05
"""Share of a GPU that the plan leaves free: the formula met measured runs within 3 %."""
STAGES = (1, 2, 3)
"""Stage 0 needs more memory than stage 1 and is no faster: it is planned only when named."""
OFFLOADS = ((False, False), (True, False), (True, True))
LENGTHS = (1024, 2048, 4096, 8192)
MICRO_BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Budget:
    """Memory budget: bytes per GPU, and bytes of host memory for the whole run."""

    gpu: int
    host: int

    def fits(self, need: Estimate, margin: float = MARGIN) -> bool:
        """Return whether the need fits with `margin` of each GPU left free."""
        return need.gpu <= self.gpu * (1 - margin) and need.host <= self.host


@dataclass(frozen=True)
class Row:
    """A set-up with its need, speed and verdict."""

    setup: Setup
    length: int
    micro_batch: int
    need: Estimate
    fits: bool
    tokens_per_s: float
    """Of the rough time model; good for ordering rows, not as a promise."""
    verdict: str
    """`fits`, or what is short, in words."""


def plan(  # noqa: PLR0913 - one parameter per thing that varies
    shape: ModelShape,
    budget: Budget,
    base: Setup,
    *,
    lengths: Iterable[int] = LENGTHS,
    micro_batches: Iterable[int] = MICRO_BATCHES,
    stages: Iterable[int] = STAGES,
    offloads: Iterable[tuple[bool, bool]] = OFFLOADS,
    checkpointing: Iterable[bool] = (False, True),
    step_tokens: int = 32_768,
    margin: float = MARGIN,
) -> list[Row]:
    """
    Return a row for every stage, offload, checkpointing, length and micro-batch, fastest first.

    Where recomputing all layers fits and recomputing none does not, a row in between recomputes
    as few as fit. `step_tokens` is how many tokens one GPU sees per optimizer step.
    """
    rows: list[Row] = []
    recomputing = tuple(checkpointing)
    for stage, (optimizer, param), length, batch in product(
        stages, offloads, tuple(lengths), tuple(micro_batches)
    ):
        if (param and stage != 3) or (optimizer and stage == 0) or (base.four_bit and stage == 3):
            continue
        if batch > 1 and length * batch > step_tokens:
            continue  # it would hold more than a step
        around = replace(
            base,
            stage=stage,
            offload_optimizer=optimizer,
            offload_param=param,
            tokens=length * batch,
        )
        setups = [replace(around, checkpointing=one, checkpoint_layers=None) for one in recomputing]
        if len(recomputing) > 1:
            setups += _in_between(shape, budget, around, margin)
        for setup in setups:
            need = estimate(shape, setup)
            speed = tokens_per_s(shape, setup, micro_batch=batch, step_tokens=step_tokens)
            fits = budget.fits(need, margin)
            words = verdict(need, budget, setup, margin)
            rows.append(Row(setup, length, batch, need, fits, speed, words))
    return sorted(rows, key=lambda row: (-row.tokens_per_s, row.need.gpu))


def choose(rows: Sequence[Row], length: int | None = None) -> Row | None:
    """Return the fastest row that fits, of the given length if one is named."""
    wanted = (row for row in rows if row.fits and length in {None, row.length})
    return next(wanted, None)


def fewest_layers(
    shape: ModelShape, budget: Budget, setup: Setup, margin: float = MARGIN
) -> int | None:
    """Return the fewest recomputed layers with which `setup` fits; None where all are not enough."""
    least, most = 0, shape.layers
    if not budget.fits(estimate(shape, _recomputing(setup, most)), margin):
        return None
    while least < most:
        middle = (least + most) // 2
        if budget.fits(estimate(shape, _recomputing(setup, middle)), margin):
            most = middle
        else:
            least = middle + 1
    return least


def verdict(need: Estimate, budget: Budget, setup: Setup, margin: float = MARGIN) -> str:
    """Return `fits`, or what is short and by how much."""
    if budget.fits(need, margin):
        return "fits"
    if need.gpu > budget.gpu * (1 - margin):
        largest = max((p for p in need.parts if p != "CUDA context"), key=need.parts.__getitem__)
        kept = f" less {margin * 100:.0f} %" if margin else ""
        return (
            f"needs {need.gpu / GIB:.1f} GiB per GPU of {budget.gpu / GIB:.1f}{kept}, "
            f"{need.parts[largest] / GIB:.1f} of it {largest}"
        )
    what = (
        "optimizer and parameters" if setup.offload_param
        else "optimizer" if setup.offload_optimizer
        else "ranks"
    )  # fmt: skip
    return (
        f"needs {need.host / GIB:.0f} GiB of host memory for the {what}, of {budget.host / GIB:.0f}"
    )


def _recomputing(setup: Setup, layers: int) -> Setup:
    return replace(setup, checkpointing=layers > 0, checkpoint_layers=layers or None)


def _in_between(shape: ModelShape, budget: Budget, around: Setup, margin: float) -> list[Setup]:
    fewest = fewest_layers(shape, budget, around, margin)
    if fewest is None or fewest in {0, shape.layers}:
        return []
    return [_recomputing(around, fewest)]
