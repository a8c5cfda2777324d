"""Start point of a run: the beginning, or the last complete checkpoint of its folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from berth_trainer.checkpoint import checkpoints, continuation, lineage, run_state
from berth_trainer.checkpoint.description import Description
from berth_trainer.config.arguments import Arguments
from berth_trainer.config.settings import TrainingSettings
from berth_trainer.errors import UserError


@dataclass(frozen=True, slots=True)
class StartPoint:
    """
    The start point of a run. `checkpoint` None: from the beginning; `notes` say why, for the log.

    `accumulation` is what keeps the samples per step where the number of ranks has changed;
    None: as the config file says. `converted`: the checkpoint was written by another number, or
    under another ZeRO stage or precision. `parts`: in which the steps up to here were made; `allowed`: what was
    changed since by the user's leave.
    """

    checkpoint: Path | None
    notes: tuple[str, ...]
    set_aside: bool = False  # what an earlier run left is in the way
    accumulation: int | None = None
    converted: bool = False
    parts: tuple[lineage.Part, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        return checkpoints.inspect(self.checkpoint).step if self.checkpoint else 0


def decide(
    arguments: Arguments,
    output_dir: Path,
    *,
    attempt: str | None,
    world_size: int,
) -> StartPoint:
    """
    Return where to start: resume if asked to, or on a later attempt of a Berth job.

    Changes nothing on disk, so that every rank returns the same.
    """
    later_attempt = _number_of(attempt) > 1
    wanted = later_attempt if arguments.resume is None else arguments.resume
    found = checkpoints.in_folder(output_dir)
    if arguments.checkpoint is not None:
        named = checkpoints.chosen(arguments.checkpoint, world_size)
        return _resumed(named, (), world_size)
    newest, flawed = checkpoints.newest_whole(found)
    left = bool(run_state.leftovers(output_dir))
    if not wanted:
        if not found:
            note = f"{output_dir} holds the results of an earlier run: they will be set aside."
            return StartPoint(None, (note,) if left else (), set_aside=left)
        note = f"{output_dir} holds checkpoints of an earlier run: they will be set aside, and this run starts from the beginning; --resume continues from them instead."  # fmt: skip
        return StartPoint(None, (note,), set_aside=True)
    skipped = tuple(f"{item.path.name} is incomplete ({item.flaw}) and is not used." for item in flawed)  # fmt: skip
    if newest is None:
        note = f"{output_dir} holds no complete checkpoint: the run starts from the beginning."
        return StartPoint(None, (*skipped, note), set_aside=left)
    return _resumed(newest, skipped, world_size)


def compared(start: StartPoint, now: Description, allowed: Sequence[str]) -> StartPoint:
    """
    Return the start point with what is to be said of changes since the checkpoint.

    Raises UserError where the run would not be the same and that was not allowed.
    """
    path = start.checkpoint
    if path is None:
        continuation.compare(Path(), {}, {}, allowed)  # misspelt keys all the same
        return start
    found = continuation.compare(path, checkpoints.settings_of(path), now, allowed)
    parts = lineage.before(checkpoints.parts_of(path), checkpoints.inspect(path).step)
    return replace(
        start, notes=(*start.notes, *found.notes), parts=tuple(parts), allowed=found.allowed
    )


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines after `step`, which the resumed run will write again."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
    path.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def same_step(start: StartPoint, training: TrainingSettings, world_size: int) -> StartPoint:
    """
    Return the start point with the accumulation that keeps the checkpoint's samples per step.

    `training` is what the run has settled on. Where the user has changed batch size times
    accumulation since the checkpoint, that is the user's will and stays. Raises UserError where
    this number of ranks cannot share a step evenly.
    """
    path, accumulation = start.checkpoint, training.gradient_accumulation_steps
    written_by = checkpoints.world_size_of(path) if path else None
    if path is None or written_by is None:
        return start
    configured = training.batch_size * accumulation
    batch = checkpoints.batch_of(path) or checkpoints.Batch(written_by * configured, configured)
    if batch.configured != configured:
        samples = configured * world_size
        note = f"a step takes {samples} samples from here on; it took {batch.samples}."
        return replace(start, notes=(*start.notes, note))
    kept, left = divmod(batch.samples, world_size * training.batch_size)
    if left or not kept:
        fitting = [n for n in range(1, 65) if batch.samples % (n * training.batch_size) == 0]
        raise UserError(
            f"{path} was trained with {batch.samples} samples a step, which {world_size} ranks of "
            f"training.batch_size {training.batch_size} cannot share evenly: use "
            f"{', '.join(map(str, fitting))} GPUs, or start over with --no_resume."
        )
    if kept == accumulation:
        return start
    note = (
        f"training.gradient_accumulation_steps is {kept} instead of {accumulation}: "
        f"a step takes {batch.samples} samples as before."
    )
    return replace(start, notes=(*start.notes, note), accumulation=kept)


def laid_out(start: StartPoint, stage: int, precision: str) -> StartPoint:
    """Return the start point, converted where the checkpoint is of another stage or precision."""
    path = start.checkpoint
    if path is None or checkpoints.is_laid_out_for(path, stage, precision):
        return start
    if (written := checkpoints.precision_of(path)) != precision:
        note = f"it was trained in {written}; this run is in {precision}."
    else:
        written = checkpoints.stage_of(path) or "1 or 2"
        note = f"it was written under ZeRO stage {written}; this run has stage {stage}."
    return replace(start, notes=(*start.notes, note), converted=True)


def _resumed(found: checkpoints.Checkpoint, notes: tuple[str, ...], world_size: int) -> StartPoint:
    notes = (*notes, f"resuming from {found.path} (step {found.step}).")
    written_by = checkpoints.world_size_of(found.path)
    converted = written_by is not None and written_by != world_size
    if converted:
        notes = (*notes, f"it was written by {written_by} ranks; this run has {world_size}.")
    return StartPoint(found.path, notes, converted=converted)


def _number_of(attempt: str | None) -> int:
    number = (attempt or "").rpartition(".")[2]
    return int(number) if number.isdecimal() else 1


def _step_of(line: str) -> float:
    try:
        entry: Mapping[str, object] = json.loads(line)
        step = entry["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return step if isinstance(step, int | float) else float("inf")
