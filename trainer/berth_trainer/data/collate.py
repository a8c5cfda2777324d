"""Collator for padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from berth_trainer.data.encode import IGNORED

MULTIPLE = 8  # tensor cores like lengths that divide by eight


@dataclass(frozen=True, slots=True)
class Collate:
    """Pads on the right to the longest sample, rounded up to a multiple of eight."""

    pad_id: int
    max_length: int

    def __call__(self, items: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        import torch  # the pure parts of this package load without torch

        longest = max(len(item["input_ids"]) for item in items)
        width = max(longest, min(-(-longest // MULTIPLE) * MULTIPLE, self.max_length))

        def padded(key: str, filler: int) -> Any:
            rows = [item[key] + [filler] * (width - len(item[key])) for item in items]
            return torch.tensor(rows, dtype=torch.long)

        mask = [
            [1] * len(item["input_ids"]) + [0] * (width - len(item["input_ids"])) for item in items
        ]
        return {
            "input_ids": padded("input_ids", self.pad_id),
            "attention_mask": torch.tensor(mask, dtype=torch.long),
            "labels": padded("labels", IGNORED),
        }
