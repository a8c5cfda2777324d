"""
Checkpoints saved by two ranks that are killed with -9 at random moments, over and over.

`python saved_under_kill.py FOLDER KILLS`: each time two processes save one checkpoint after the
other into FOLDER, copied to the host and written by a thread, or written at once. After each kill
the newest complete checkpoint must hold what was saved at its step, and must not be older than the
one before. Prints how many were found, as JSON.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from berth_trainer.checkpoint import checkpoints
from berth_trainer.checkpoint.host_arena import size_for
from berth_trainer.checkpoint.saver import Saver
from berth_trainer.checkpoint.tensor_file import storages_of
from berth_trainer.training.ranks import Ranks

RANKS, NUMBERS = 2, 40_000


def state(rank, step):
    draw = torch.Generator().manual_seed(1000 * step + rank)
    wide = torch.randn(NUMBERS, generator=draw)
    return {"wide": wide, "half": wide[: NUMBERS // 2], "step": torch.tensor(float(step))}


def save_for_ever(folder, rank, first, barrier, *, copied):
    saver = Saver(Ranks(rank, rank, RANKS, RANKS, launched=True))
    if copied:
        saver.reserve(size_for(storages_of(state(rank, 0))), None)
    for step in range(first, 1 << 30):
        path = folder / f"{checkpoints.PREFIX}{step}"
        saver.begin(path)
        if rank == 0:
            shutil.rmtree(path, ignore_errors=True)  # what a kill left, as the trainer does
        barrier.wait()  # the verdict on the disk, which all ranks hear from rank 0
        shards = path / f"global_step{step}"
        shards.mkdir(parents=True, exist_ok=True)
        saver.save(state(rank, step), shards / f"rank_{rank}_optim_states.pt")
        (path / f"rng_state_{rank}.pth").write_text("any")
        if rank == 0:
            (path / "trainer_state.json").write_text("{}")
            (path / "latest").write_text(shards.name)

        def complete(path=path, step=step):
            checkpoints.record(path, step=step, world_size=RANKS)
            checkpoints.rotate(folder, keep=1, best=None)

        saver.commit(complete)


def kill_once(folder, first, draw):
    context = multiprocessing.get_context("fork")
    barrier, copied = context.Barrier(RANKS), draw.random() < 0.8
    ranks = [
        context.Process(
            target=save_for_ever, args=(folder, rank, first, barrier), kwargs={"copied": copied}
        )
        for rank in range(RANKS)
    ]
    for rank in ranks:
        rank.start()
    record = folder / f"{checkpoints.PREFIX}{first}" / checkpoints.RECORD
    until = time.monotonic() + (draw.uniform(0.0, 0.3) if draw.random() < 0.2 else 20.0)
    while not record.exists() and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(draw.uniform(0.0, 0.05))
    draw.shuffle(ranks)
    for rank in ranks:
        os.kill(rank.pid, signal.SIGKILL)
    for rank in ranks:
        rank.join()


def newest(folder):
    """The step of the newest complete checkpoint, 0 without one; what it holds is compared."""
    found, _ = checkpoints.newest_whole(checkpoints.in_folder(folder))
    if found is None:
        return 0
    for rank in range(RANKS):
        file = found.path / f"global_step{found.step}" / f"rank_{rank}_optim_states.pt"
        saved, right = torch.load(file), state(rank, found.step)
        assert all(torch.equal(saved[name], right[name]) for name in right), file
    return found.step


def main():
    folder, kills, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(7)
    sys.stdout = sys.stderr
    steps = [newest(folder)]
    for _ in range(kills):
        kill_once(folder, steps[-1] + 1, draw)
        steps.append(newest(folder))
        assert steps[-1] >= steps[-2], steps
    print(json.dumps({"kills": kills, "saved": steps[-1]}), file=sys.__stdout__)


if __name__ == "__main__":
    main()
