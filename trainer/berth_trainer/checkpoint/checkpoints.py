"""Checkpoint records: verification, rotation, and the choice of one to resume from."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.output_paths import PREFIX
from berth_trainer.errors import UserError

RECORD = "berth_complete.json"  # written last: a checkpoint with it is whole
SAVED = "saved.json"  # in the run directory


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder; `flaw` says what it lacks, None where it is complete."""

    path: Path
    step: int
    flaw: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Batch size of a run: `samples` of an optimizer step over all ranks.

    `configured` is batch size times accumulation as the config file has it; the accumulation
    really used differs after a resume on another number of ranks.
    """

    samples: int
    configured: int


def record(
    path: Path,
    *,
    step: int,
    world_size: int,
    batch: Batch | None = None,
    run: Mapping[str, Any] | None = None,
) -> None:
    """
    Mark the checkpoint complete: flush every file to disk, then write names and sizes.

    `run` is what the run was: its `settings`, the ZeRO `stage`, and the `parts` it was made in.
    Call it on rank 0 after all ranks have written. Raises RuntimeError where a part is missing.
    """
    missing = _missing_part(path, world_size)
    if missing:
        raise RuntimeError(f"{path} is incomplete after saving: {missing}")
    sizes: dict[str, int] = {}
    for file in _files(path):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        sizes[file.relative_to(path).as_posix()] = file.stat().st_size
    written = {
        "version": 1,
        "step": step,
        "world_size": world_size,
        "batch": asdict(batch) if batch else None,
        "run": run,
        "files": sizes,
    }
    write_json(path / RECORD, written)


def report_saved(step: int) -> None:
    """
    Report a complete checkpoint to Berth, which then stops a job that it had warned.

    For rank 0. A full disk never ends a run.
    """
    run_dir = os.environ.get("BERTH_RUN_DIR")
    if run_dir:
        with contextlib.suppress(OSError):
            write_json(Path(run_dir) / SAVED, {"step": step, "time": round(time.time(), 3)})


def inspect(path: Path) -> Checkpoint:
    """Compare a checkpoint with its record."""
    step = _step(path) or 0
    try:
        recorded = json.loads((path / RECORD).read_text("utf-8"))
        files: dict[str, int] = recorded["files"]
    except FileNotFoundError:
        return Checkpoint(path, step, "its saving was cut short")
    except (OSError, ValueError, KeyError, TypeError):
        return Checkpoint(path, step, f"its {RECORD} cannot be read")
    for name, size in files.items():
        file = path / name
        if not file.is_file():
            return Checkpoint(path, step, f"it lacks {name}")
        if file.stat().st_size != size:
            return Checkpoint(path, step, f"{name} is {file.stat().st_size} bytes, not {size}")
    return Checkpoint(path, step, None)


def world_size_of(path: Path) -> int | None:
    """Return the number of ranks that wrote the checkpoint, None where its record has none."""
    recorded = _recorded(path, "world_size")
    return recorded if isinstance(recorded, int) else None


def batch_of(path: Path) -> Batch | None:
    """Return the batch size of the checkpoint's run, None where its record has none."""
    recorded = _recorded(path, "batch")
    try:
        return Batch(int(recorded["samples"]), int(recorded["configured"]))
    except (KeyError, TypeError, ValueError):
        return None


def settings_of(path: Path) -> dict[str, Any] | None:
    """Return the settings of the checkpoint's run; None where its record has none."""
    recorded = _recorded(path, "run")
    return recorded.get("settings") if isinstance(recorded, dict) else None


def parts_of(path: Path) -> list[dict[str, Any]] | None:
    """Return the parts in which the checkpoint was made; None where its record has none."""
    recorded = _recorded(path, "run")
    return recorded.get("parts") if isinstance(recorded, dict) else None


def stage_of(path: Path) -> int | None:
    """Return the ZeRO stage of the checkpoint; None where it may be 1 or 2."""
    recorded = _recorded(path, "run")
    if isinstance(recorded, dict) and isinstance(recorded.get("stage"), int):
        return recorded["stage"]
    return 3 if any(path.glob("global_step*/zero_pp_rank_*_model_states.pt")) else None


def precision_of(path: Path) -> str:
    """Return the precision in which the checkpoint's model was trained, by its files' names."""
    return "bf16" if any(path.glob("global_step*/bf16_*_optim_states.pt")) else "fp32"


def is_laid_out_for(path: Path, stage: int, precision: str) -> bool:
    """Return whether DeepSpeed under this stage and precision reads the checkpoint as it lies."""
    written = stage_of(path)
    same_stage = stage < 3 if written is None else written == stage
    return same_stage and precision_of(path) == precision


def _recorded(path: Path, name: str) -> Any:
    try:
        return json.loads((path / RECORD).read_text("utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def in_folder(output_dir: Path) -> list[Checkpoint]:
    """Return every checkpoint in the folder, newest first, complete or not."""
    found = [path for path in output_dir.glob(f"{PREFIX}*") if path.is_dir() and _step(path)]
    return sorted((inspect(path) for path in found), key=lambda item: item.step, reverse=True)


def newest_whole(found: list[Checkpoint]) -> tuple[Checkpoint | None, list[Checkpoint]]:
    """Return the newest complete checkpoint, and the incomplete ones that are newer."""
    for place, checkpoint in enumerate(found):
        if checkpoint.flaw is None:
            return checkpoint, found[:place]
    return None, found


def chosen(path: Path, world_size: int) -> Checkpoint:
    """Return the checkpoint that the user names. One without a record is checked by its files."""
    if not path.is_dir():
        raise UserError(f"--resume_from_checkpoint {path} is not a folder.")
    found = inspect(path)
    flaw = found.flaw
    if flaw and not (path / RECORD).exists():
        flaw = _missing_part(path, world_size)
    if flaw:
        raise UserError(f"{path} is incomplete ({flaw}): resume from an earlier checkpoint.")
    return Checkpoint(path, found.step, None)


def rotate(output_dir: Path, *, keep: int, best: Path | None) -> list[Path]:
    """
    Delete all but the newest `keep` whole checkpoints and `best`; return what went.

    Flawed ones older than the newest whole one go too. Without a whole one nothing goes.
    """
    found = in_folder(output_dir)
    newest, _ = newest_whole(found)
    if newest is None:
        return []
    whole = [item for item in found if item.flaw is None]
    kept = {item.path.resolve() for item in whole[: max(1, keep)]}
    if best is not None:
        kept.add(best.resolve())
    gone = [
        item.path
        for item in found
        if item.path.resolve() not in kept and (item.flaw is None or item.step < newest.step)
    ]
    for path in gone:
        (path / RECORD).unlink(missing_ok=True)  # first: half a deletion must not look whole
        shutil.rmtree(path, ignore_errors=True)
    return gone


def _missing_part(path: Path, world_size: int) -> str | None:
    """Return what a checkpoint of this many ranks lacks."""
    if not (path / "trainer_state.json").is_file():
        return "it lacks trainer_state.json"
    try:
        shards = path / (path / "latest").read_text("utf-8").strip()
    except OSError:
        return "it lacks DeepSpeed's file `latest`"
    states = len(list(shards.glob("*_optim_states.pt")))
    if states != world_size:
        return f"it holds {states} of {world_size} optimizer states"
    random_states = len(list(path.glob("rng_state*.pth")))
    if random_states != world_size:
        return f"it holds {random_states} of {world_size} random states"
    return None


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != RECORD)


def _step(path: Path) -> int | None:
    number = path.name.removeprefix(PREFIX)
    return int(number) if path.name.startswith(PREFIX) and number.isdecimal() else None
