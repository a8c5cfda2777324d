"""Check of the saved model: loaded as a user would, it gives the loss of the trained one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from berth_trainer.data.collate import Collate
from berth_trainer.data.encode import IGNORED
from berth_trainer.memory.sizes import GIB, available_memory, host_memory

_LOOKED_AT, _TAKEN = 64, 4
_ROUNDING = {"fp32": 2e-3, "bf16": 4e-2}  # of the loss, and at least of 1


@dataclass(frozen=True, slots=True)
class Check:
    """Losses of one small batch; `saved` None: the model was not loaded, and `why`."""

    trained: float
    saved: float | None
    why: str = ""

    def agrees(self, precision: str) -> bool:
        if self.saved is None:
            return True
        allowed = _ROUNDING.get(precision, 4e-2) * max(1.0, abs(self.trained))
        return abs(self.saved - self.trained) <= allowed


def probe(*splits: Sequence[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """Return a few short samples of the first split that has any, the same on every rank."""
    for split in splits:
        first = [split[index] for index in islice(range(len(split)), _LOOKED_AT)]
        labelled = [item for item in first if any(label != IGNORED for label in item["labels"])]
        if labelled:
            return sorted(labelled, key=lambda item: len(item["input_ids"]))[:_TAKEN]
    return []


def loss_of(
    folder: Path, items: Sequence[dict[str, list[int]]], *, collate: Collate, precision: str
) -> tuple[float | None, str]:
    """
    Return the loss of the model in `folder`, loaded with a plain from_pretrained on the CPU.

    Beside the GPU, which still holds what was trained. None, and why, where it does not fit into
    the machine's memory. For one rank alone.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    room = min(host_memory(), available_memory()) * 0.8
    if size > room:
        return None, f"it takes {size / GIB:.0f} GiB of host memory, and {room / GIB:.0f} are free"
    unset_hf_deepspeed_config()  # else loading would divide the weights among the ranks
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype).eval()
    with torch.no_grad():
        loss = float(model(**collate(items)).loss)
    return (loss if math.isfinite(loss) else math.inf), ""
