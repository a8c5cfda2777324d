"""
Saving of checkpoints beside the training: copied to the host, written by a thread.

A checkpoint becomes complete on rank 0, once each rank has flushed its files and left a mark in
the folder. Nothing here is a collective: a rank's thread must not talk to other ranks while the
training does.
"""

import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from berth_trainer.checkpoint import tensor_file
from berth_trainer.checkpoint.host_arena import HostArena, size_for
from berth_trainer.training.ranks import Ranks, log0, warn

_MARKS = ".written"  # a folder in the checkpoint, gone once it is complete
_POLL_S = 0.02
_PART = ".part"
_TOLD_S = 0.5  # a shorter wait is not worth a line


@dataclass(slots=True)
class Saving:
    """One checkpoint of this rank on its way to the disk."""

    folder: Path
    began: float = field(default_factory=time.perf_counter)
    size: int = 0
    held: int = 0  # bytes of the arena that are taken
    problem: BaseException | None = None  # of what was written at once
    work: list[Future[None]] = field(default_factory=list[Future[None]])

    @property
    def failure(self) -> BaseException | None:
        """Return what has gone wrong so far."""
        done = (one.exception() for one in self.work if one.done())
        return next((error for error in (self.problem, *done) if error), None)


class Saver:
    """
    Writes a rank's files of a checkpoint; `last_s` is what the last one took until it was complete.

    With an arena (see `reserve`) the states are copied there and written while the training goes
    on. Without one, or where it is too small, they are written before `save` returns.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._arena: HostArena | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint writer")
        self._now: Saving | None = None
        self.last_s: float | None = None

    def reserve(self, size: int, device: "torch.device | None") -> None:
        """Take `size` bytes of host memory for the copies, pinned in the background."""
        self._arena = HostArena(size, device=device)

    @property
    def busy(self) -> bool:
        now = self._now
        return now is not None and any(not one.done() for one in now.work)

    def begin(self, folder: Path) -> None:
        """Start a checkpoint, after the previous one is written: the memory holds one copy."""
        if self.busy and self._now is not None:
            since = time.perf_counter()
            self.wait()
            waited = time.perf_counter() - since
            if waited >= _TOLD_S:
                log0(f"checkpoint: {self._now.folder.name} was still being written; waited {waited:.1f} s for it.")  # fmt: skip
        self._now = Saving(folder)

    def abandon(self) -> None:
        """Forget the checkpoint that was begun: it is not saved."""
        self._now = None

    def save(self, state: Any, path: Path) -> None:
        """Save a file of this rank: copied and handed to the thread, or written at once."""
        now = self._now
        if now is None:
            torch.save(state, path)
            return
        sources = tensor_file.storages_of(state)
        part = path.with_name(f"{path.name}{_PART}")
        now.size += sum(source.numel() for source in sources)
        room = self._arena.size - now.held if self._arena else 0
        try:
            places = tensor_file.lay_out(state, part, len(sources))
            if self._arena is not None and size_for(sources) <= room:
                held = self._arena.hold(sources, now.held)
                now.held += size_for(sources)
                now.work.append(self._thread.submit(_write, part, path, places, held))
            else:
                _write(part, path, places, sources)
        except (OSError, RuntimeError) as error:
            if not _is_of_the_disk(error):
                raise
            now.problem = error  # the other ranks are still saving: `_complete` says it

    def commit(self, complete: Callable[[], None]) -> bool:
        """
        Let the checkpoint become complete: `complete` runs on rank 0 when all ranks have written.

        Every file that the training itself writes is there by now, of this rank. Returns False
        where no checkpoint was begun.
        """
        now = self._now
        if now is None:
            return False
        now.work.append(self._thread.submit(self._mark, now))
        if self._ranks.is_main:
            now.work.append(self._thread.submit(self._complete, now, complete))
        return True

    def wait(self) -> None:
        """Wait until the checkpoint is complete, or failed. Other ranks wait for their own part."""
        now = self._now
        for one in now.work if now else ():
            one.exception()  # waits; `_complete` has said what went wrong

    def _mark(self, now: Saving) -> None:
        """Leave the mark of this rank: empty, or what went wrong."""
        failure = now.failure
        if failure is not None:
            for part in now.folder.rglob(f"*{_PART}"):
                part.unlink(missing_ok=True)  # room for the mark, where the disk is full
        mark = now.folder / _MARKS / str(self._ranks.rank)
        mark.parent.mkdir(exist_ok=True)
        new = mark.with_suffix(".new")
        new.write_text(str(failure or ""), "utf-8")
        new.replace(mark)

    def _complete(self, now: Saving, complete: Callable[[], None]) -> None:
        marks = now.folder / _MARKS
        waiting = set(range(self._ranks.world_size))
        failures: list[str] = []
        while waiting:
            for rank in [rank for rank in waiting if (marks / str(rank)).exists()]:
                waiting.discard(rank)
                failures.append((marks / str(rank)).read_text("utf-8"))
            time.sleep(_POLL_S if waiting else 0)
        try:
            failure = next(filter(None, failures), "")
            if failure:
                raise OSError(failure)  # noqa: TRY301
            shutil.rmtree(marks)
            complete()
        except Exception as error:  # noqa: BLE001  # whatever it is, the training goes on
            shutil.rmtree(now.folder, ignore_errors=True)
            warn(
                f"{now.folder.name} could not be written ({error}): the training goes on, and the "
                "complete checkpoint before it stays the last one."
            )
            return
        self.last_s = time.perf_counter() - now.began
        log0(
            f"checkpoint: {now.folder.name} is complete, {now.size * len(failures) / 1e9:.1f} GB in "
            f"{self.last_s:.1f} s."
        )


def _write(part: Path, path: Path, places: list[int], sources: list[torch.Tensor]) -> None:
    """Fill the file that was laid out, and give it its name once all of it is on the disk."""
    parts = [tensor_file.Part(place, source) for place, source in zip(places, sources, strict=True)]
    tensor_file.fill(part, parts)
    part.replace(path)
    tensor_file.flush_folder(path.parent)


def _is_of_the_disk(error: BaseException) -> bool:
    """Return whether the disk or a quota is full, which torch says in words of its own."""
    return isinstance(error, OSError) or bool(_DISK.search(str(error)))


_DISK = re.compile(r"unexpected pos \d+ vs|iostream error|No space left|file write failed")
