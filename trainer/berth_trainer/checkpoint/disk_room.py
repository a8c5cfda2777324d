"""
Room on the disk for a run's checkpoints and its final model, planned like the memory.

The final model's room is kept free from the start: a run that has trained is never without it.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from berth_trainer.checkpoint import checkpoints
from berth_trainer.training.ranks import log0

_SLACK = 64 << 20  # configs, random states, the tokenizer
_ASIDE = "earlier_run_*"


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """
    Bytes of a checkpoint and of the final model; `standing`: checkpoints kept at a time.

    `saves`: checkpoints that the whole run writes, None where that is not known. 0: only when it
    is stopped.
    """

    checkpoint: int
    final: int
    standing: int
    saves: int | None = None

    @property
    def kept(self) -> int:
        """Bytes that are kept free for the final model."""
        return self.final + _SLACK

    @property
    def first(self) -> int:
        """Bytes with one checkpoint, which a run that is stopped writes in any case."""
        return self.checkpoint + self.kept

    @property
    def least(self) -> int:
        """Bytes without which no checkpoint can be replaced by a newer one."""
        return 2 * self.checkpoint + self.kept

    @property
    def most(self) -> int:
        """Bytes with all that is kept, the one being written and the final model."""
        at_once = self.standing + 1
        if self.saves is not None:
            at_once = max(1, min(at_once, self.saves))
        return at_once * self.checkpoint + self.kept


def saves_of(save_steps: int, steps: int) -> int | None:
    """Return how many checkpoints a run of `steps` steps writes, the one at its end included."""
    if not save_steps:
        return 0
    return -(-steps // save_steps) if steps else None


def warning(plan: DiskPlan, output_dir: Path, *, resumed: bool = True) -> str:
    """
    Return what is said before the first step; empty where the disk has room for all.

    `resumed`: the checkpoints in the folder are this run's own, which go when new ones are written.
    """
    found = [item.path for item in checkpoints.in_folder(output_dir)]
    folder = next(one for one in (output_dir, *output_dir.absolute().parents) if one.is_dir())
    own = sum(map(_size, found)) if resumed else 0
    free = shutil.disk_usage(folder).free + own
    if free >= plan.most:
        return ""
    sizes = (
        f"a checkpoint takes {_gb(plan.checkpoint)}, the final model {_gb(plan.final)}, and "
        f"{_gb(free)} are free on the disk of {output_dir}"
    )
    several = plan.most > plan.first
    fixes = ["lower training.save_total_limit"] if several and free >= plan.least else []
    earlier = sorted(output_dir.glob(_ASIDE)) + ([] if resumed else found[::-1])
    aside = [(path, _size(path)) for path in earlier]
    fixes += [f"delete {path} ({_gb(size)} of an earlier run)" for path, size in aside if size]
    fixes.append("choose another --output_dir")
    return f"{sizes}: {_consequence(plan, free)}. To change it, {', or '.join(fixes)}."


def _consequence(plan: DiskPlan, free: int) -> str:
    """Return what happens with so many bytes free, too few for all."""
    if free < plan.final:
        return "the final model does not fit, so the run would end without it"
    if free < plan.first:
        without = "a run that is stopped cannot be saved" if plan.saves == 0 else "no checkpoint is written"  # fmt: skip
        return f"a checkpoint and the final model do not fit, so {without}"
    if free < plan.least:
        return "two checkpoints and the final model do not fit, so only the first is written"
    return (
        f"{plan.standing} checkpoints and the one being written do not fit: older ones are deleted "
        "before a new one is written"
    )


def make_room(plan: DiskPlan, output_dir: Path, *, best: Path | None) -> str:
    """
    Delete old checkpoints until another one and the final model fit. Return why they do not.

    The newest complete checkpoint and the best one stay.
    """
    need = plan.checkpoint + plan.final + _SLACK
    kept = {best.resolve()} if best is not None else set[Path]()
    found = checkpoints.in_folder(output_dir)
    newest, _ = checkpoints.newest_whole(found)
    if newest is not None:
        kept.add(newest.path.resolve())
    old = [item.path for item in reversed(found) if item.path.resolve() not in kept]
    free = _freed(need, output_dir, old, "to make room for the next one")
    if free >= need:
        return ""
    return (
        f"it takes {_gb(plan.checkpoint)} beside {_gb(plan.final)} for the final model, and only "
        f"{_gb(free)} are free"
    )


def make_room_for_model(plan: DiskPlan, output_dir: Path, wait: Callable[[], None]) -> None:
    """Delete checkpoints of this run, the oldest first, until its final model fits."""
    need = plan.final + _SLACK
    if shutil.disk_usage(output_dir).free >= need:
        return
    wait()  # for the one that is being written
    found = [item.path for item in reversed(checkpoints.in_folder(output_dir))]
    _freed(need, output_dir, found, "so that the final model fits on the disk")


def _freed(need: int, output_dir: Path, paths: list[Path], why: str) -> int:
    """Delete in order until `need` bytes are free; return how many are."""
    for path in paths:
        if shutil.disk_usage(output_dir).free >= need:
            break
        (path / checkpoints.RECORD).unlink(missing_ok=True)  # half a deletion must not look whole
        shutil.rmtree(path, ignore_errors=True)
        log0(f"checkpoint: {path.name} is deleted {why}.")
    return shutil.disk_usage(output_dir).free


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
