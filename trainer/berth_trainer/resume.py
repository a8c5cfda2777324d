"""Where a run begins: at the start, or at the last whole checkpoint of its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from berth_trainer import checkpoints
from berth_trainer.arguments import Arguments
from berth_trainer.problem import Problem


@dataclass(frozen=True, slots=True)
class Beginning:
    """`checkpoint` None means from the start; `told` are the sentences that say why."""

    checkpoint: Path | None
    told: tuple[str, ...]
    set_aside: bool = False  # an earlier run's checkpoints are in the way


def decide(
    arguments: Arguments, output_dir: Path, *, attempt: str | None, world_size: int
) -> Beginning:
    """
    Resume where asked to, or where this is a later attempt of a Berth job.

    Changes nothing on disk, so that every rank comes to the same answer. Raises Problem
    where the checkpoint was written by another number of ranks.
    """
    later_attempt = _number_of(attempt) > 1
    wanted = later_attempt if arguments.resume is None else arguments.resume
    found = checkpoints.in_folder(output_dir)
    if arguments.checkpoint is not None:
        named = checkpoints.chosen(arguments.checkpoint, world_size)
        return _resumed(named, (), world_size)
    newest, flawed = checkpoints.newest_whole(found)
    if not wanted:
        if not found:
            return Beginning(None, ())
        told = f"{output_dir} holds checkpoints of an earlier run: they are set aside, and this run starts anew; --resume goes on from them instead."  # fmt: skip
        return Beginning(None, (told,), set_aside=True)
    skipped = tuple(f"{item.path.name} is not whole ({item.flaw}) and is not used." for item in flawed)  # fmt: skip
    if newest is None:
        told = f"{output_dir} holds no whole checkpoint: the run starts from the beginning."
        return Beginning(None, (*skipped, told), set_aside=bool(found))
    return _resumed(newest, skipped, world_size)


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines after `step`, which the resumed run will write again."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
    path.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def _resumed(found: checkpoints.Checkpoint, told: tuple[str, ...], world_size: int) -> Beginning:
    written_by = checkpoints.world_size_of(found.path)
    if written_by is not None and written_by != world_size:
        raise Problem(
            f"{found.path} was written by {written_by} ranks and this run has {world_size}: start "
            f"it with {written_by} GPUs, or start over with --no_resume."
        )
    return Beginning(found.path, (*told, f"resuming from {found.path} (step {found.step})."))


def _number_of(attempt: str | None) -> int:
    number = (attempt or "").rpartition(".")[2]
    return int(number) if number.isdecimal() else 1


def _step_of(line: str) -> float:
    try:
        told: Mapping[str, object] = json.loads(line)
        step = told["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return step if isinstance(step, int | float) else float("inf")
