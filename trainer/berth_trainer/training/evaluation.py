"""Evaluation loss, with each sample counted once and weighted by its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from berth_trainer.data.encode import IGNORED
from berth_trainer.training.metrics import perplexity


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of an evaluation; `loss` is per target token, over all ranks."""

    loss: float
    tokens: int
    samples: int

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)


def shares(count: int, *, rank: int, world_size: int, batch_size: int) -> list[list[int | None]]:
    """
    Return the batches of one rank; each item is on one rank only.

    Every rank gets the same number of batches of at least one item, because under ZeRO-3 a
    rank that computes less leaves the others waiting; None stands for an empty filler.
    """
    if count == 0:
        return []
    per_rank = -(-count // world_size)
    mine = [rank + turn * world_size for turn in range(per_rank)]
    padded = [index if index < count else None for index in mine]
    return [padded[start : start + batch_size] for start in range(0, per_rank, batch_size)]


def evaluate(
    model: Any,
    items: Sequence[dict[str, list[int]]],
    *,
    collate: Callable[[Sequence[dict[str, list[int]]]], dict[str, Any]],
    batch_size: int,
    device: Any,
) -> Evaluation:
    """Compute the loss over all items; a collective, the same result on every rank."""
    import torch
    from torch import distributed

    ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    total = torch.zeros(2, dtype=torch.float64)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for batch in shares(len(items), rank=rank, world_size=ranks, batch_size=batch_size):
            rows = [_blank(items[0]) if index is None else items[index] for index in batch]
            inputs = {name: value.to(device) for name, value in collate(rows).items()}
            counted = int((inputs["labels"][:, 1:] != IGNORED).sum())
            loss = model(**inputs).loss
            if counted:
                total += torch.tensor([float(loss) * counted, counted], dtype=torch.float64)
    model.train(was_training)
    if ranks > 1:
        total = total.to(device if distributed.get_backend() == "nccl" else "cpu")
        distributed.all_reduce(total)
    summed, tokens = total.tolist()
    return Evaluation(summed / tokens if tokens else float("nan"), int(tokens), len(items))


def _blank(item: dict[str, list[int]]) -> dict[str, list[int]]:
    """Return a short item without label tokens."""
    return {"input_ids": item["input_ids"][:8], "labels": [IGNORED] * len(item["input_ids"][:8])}
