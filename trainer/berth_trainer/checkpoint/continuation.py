"""Comparison of a run that resumes with the run that wrote the checkpoint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.description import Description, is_place, shown
from berth_trainer.config.suggestions import did_you_mean
from berth_trainer.errors import UserError

MEANING = (
    "model", "ablation", "data", "data.language", "data.validation_fraction",
    "data.test_fraction", "data.max_train_samples", "history.strategy", "history.max_history",
    "history.count", "history.ratio", "training.max_length", "training.pack_tokens",
    "training.seed", "lora.alpha", "lora.quantize",
)  # fmt: skip
"""Settings that cannot change without making another run of it: refused unless it is allowed."""

SHAPE = ("lora.r", "lora.target_modules", "training.optimizer_states")
"""Settings that decide which tensors a checkpoint holds: refused in any case."""

_UNTOLD = frozenset({
    "training.plan", "training.logging_steps", "training.save_steps",
    "training.save_total_limit", "training.save_in_background",
    "training.dataloader_num_workers",
    "training.gradient_accumulation_steps", "training.batch_size",  # told with the samples a step
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Report on a resume, and which changes of meaning were allowed."""

    notes: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


def compare(
    checkpoint: Path, recorded: Description | None, now: Description, allowed: Sequence[str]
) -> Comparison:
    """
    Compare the run with the description in the checkpoint's record. Raises UserError.

    `recorded` None: the checkpoint was written before descriptions were kept.
    """
    leave = _known(allowed)
    notes: list[str] = []
    before = {**_adapter(checkpoint, now), **(recorded or {})}
    if recorded is None:
        notes.append(
            f"{checkpoint.name} holds no record of its settings, so model, data, ablation and "
            "lengths are not compared with those that it was trained with."
        )
    changed = [key for key in before if key in now and not _same(key, before[key], now[key])]
    refused = [key for key in changed if key in SHAPE]
    if refused:
        raise UserError(
            f"{checkpoint} was trained with {_both(before, now, refused)}, and its tensors fit no "
            "other: set it back, or start over with --no_resume."
        )
    meant = [key for key in changed if key in MEANING]
    refused = [key for key in meant if key not in leave]
    if refused:
        raise UserError(
            f"{checkpoint} was trained with {_both(before, now, refused)}: set it back, add "
            f"--allow-changed {','.join(refused)} to --resume to go on all the same, or start over "
            "with --no_resume."
        )
    if meant:
        notes.append(f"resumed although the checkpoint has {_both(before, now, meant)}.")
    told = [key for key in changed if key not in meant and key not in _UNTOLD and not is_place(key)]
    if told:
        told = [f"{key} {shown(before, key)} to {shown(now, key)}" for key in told]
        notes.append(f"changed from here on: {', '.join(told)}.")
    return Comparison(tuple(notes), tuple(meant))


def _same(key: str, before: Any, now: Any) -> bool:
    if key == "lora.target_modules":  # a list of names, in any order
        return {one.strip() for one in str(before).split(",")} == {
            one.strip() for one in str(now).split(",")
        }
    return bool(before == now)


def _known(allowed: Sequence[str]) -> set[str]:
    """Return the keys in full; the last part of a name is enough. Raises UserError."""
    names = {key.rpartition(".")[2]: key for key in MEANING} | {key: key for key in MEANING}
    for name in allowed:
        if name not in names:
            raise UserError(
                f"--allow-changed {name} is nothing that can be allowed"
                f"{did_you_mean(name, names)}; it can be {', '.join(MEANING)}."
            )
    return {names[name] for name in allowed}


def _both(before: Description, now: Description, keys: Sequence[str]) -> str:
    return ", ".join(
        f"{key} {shown(before, key)} where this run has {shown(now, key)}" for key in keys
    )


def _adapter(checkpoint: Path, now: Description) -> dict[str, Any]:
    """Return the LoRA shape that the checkpoint's own files tell, whoever wrote it."""
    try:
        found = json.loads((checkpoint / "adapter_config.json").read_text("utf-8"))
        return {"lora.r": int(found["r"]), "lora.alpha": int(found["lora_alpha"])}
    except FileNotFoundError:
        whole = any(checkpoint.glob("model*.safetensors")) and now.get("lora.r")
        return {"lora.r": 0} if whole else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
