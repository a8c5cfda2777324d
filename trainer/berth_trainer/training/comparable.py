"""`comparable.json`: the settings of a run that must be equal for its results to be compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint import lineage
from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.description import Description
from berth_trainer.training.session_data import Encoded, shortened

NAME = "comparable.json"
# What changes neither the result nor what it was trained on.
_MEANS = ("deepspeed.", "training.eval_batch", "training.logging", "training.save_",
          "training.dataloader", "training.plan", "training.gradient_checkpointing",
          "training.checkpoint_layers", "training.fused", "training.compile", "training.loss_chunk",
          "training.batch_size", "training.gradient_accumulation", "training.global_batch",
          "data.train_path", "data.test_path", "model.path")  # fmt: skip


def write(
    folders: Sequence[Path],
    description: Description,
    samples: Encoded,
    *,
    parts: Sequence[lineage.Part],
) -> None:
    """Write the file; `parts` are those of the run so far, this attempt included."""
    settings: dict[str, Any] = {
        key: value for key, value in description.items() if not key.startswith(_MEANS)
    }
    for key, place in (("model", "model.path"), ("data", "data.train_path")):
        settings[key] = f"{Path(str(description.get(place))).name} ({description.get(key)})"
    facts = {
        "settings": settings,
        "training_samples": len(samples),
        "samples_per_step": parts[-1].get("samples_per_step") if parts else None,
        "changed_by_resume": lineage.changes(parts),
        "shortened": shortened(samples),
    }
    for folder in folders:
        write_json(folder / NAME, facts)
