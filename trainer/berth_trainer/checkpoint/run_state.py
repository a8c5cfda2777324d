"""State of the run in an output folder, and what an earlier run left there."""

import json
import time
from pathlib import Path
from typing import Any, Literal

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.output_paths import FINAL_ADAPTER, FINAL_MODEL, PREFIX

FILE = "run.json"
MARKER = "stopped.json"
State = Literal["running", "stopped", "diverged", "failed", "finished"]
_WORK = (
    FINAL_MODEL, FINAL_ADAPTER, "results.json", "metrics.jsonl",
    "predictions.jsonl", "predictions_metrics.json",
)  # fmt: skip
_BESIDE = (FILE, MARKER, "plan.json", "checklist.json", "deepspeed_config", "tensorboard", "wandb")
_MOVING = ".moving"


def write(folder: Path, state: State, **facts: Any) -> None:
    """Write `run.json`: a run that is killed leaves `running`."""
    write_json(folder / FILE, {"state": state, "time": round(time.time(), 3), **facts})


def unfinished(folder: Path) -> str | None:
    """Return how the folder's last run ended, in words; None where it finished or none is known."""
    try:
        state = json.loads((folder / FILE).read_text("utf-8"))["state"]
    except (OSError, ValueError, KeyError, TypeError):
        return "was stopped" if (folder / MARKER).exists() else None
    words = {"running": "did not end by itself", "stopped": "was stopped", "failed": "failed",
             "diverged": "diverged"}  # fmt: skip
    return words.get(str(state))


def leftovers(folder: Path) -> list[Path]:
    """Return an earlier run's checkpoints, models, results and metrics; empty without any."""
    found = [path for name in _WORK if (path := folder / name).exists()]
    return [*_checkpoints(folder), *found]


def set_aside(folder: Path) -> Path | None:
    """
    Move all that an earlier run left into `earlier_run_<n>`, and return it; None without any.

    A move that was cut short goes on into the same folder, so that a run stays together.
    """
    moved = leftovers(folder)
    numbers = range(1, 1 << 30)
    aside = next(
        path
        for number in numbers
        if not (path := folder / f"earlier_run_{number}").exists() or (path / _MOVING).exists()
    )
    if not moved:
        (aside / _MOVING).unlink(missing_ok=True)
        return None
    aside.mkdir(parents=True, exist_ok=True)
    (aside / _MOVING).touch()
    for path in [*moved, *(path for name in _BESIDE if (path := folder / name).exists())]:
        path.rename(aside / path.name)
    (aside / _MOVING).unlink()
    return aside


def _checkpoints(folder: Path) -> list[Path]:
    found = folder.glob(f"{PREFIX}*")
    return sorted(path for path in found if path.name.removeprefix(PREFIX).isdecimal())
