"""Stopping real launchers: every rank has its time to save, whatever the launcher would do."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

# Ranks that meet over gloo, train until they are asked to stop, and then take their time to save.
TRAIN = """
import os, signal, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
stop = torch.zeros(1)
def term(number, frame):
    stop.fill_(1)
signal.signal(signal.SIGTERM, term)
def say(text):
    os.write(1, f"rank {rank} {text}\\n".encode())
say("ready")
while True:
    told = stop.clone()
    dist.all_reduce(told, op=dist.ReduceOp.MAX)  # all of them stop at the same step
    if told.item():
        break
    time.sleep(0.02)
time.sleep(3)
dist.barrier()
say("saved")
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    "command",
    [
        "torchrun --nproc-per-node=2 train.py",
        "deepspeed --num_gpus=2 train.py",
        "accelerate launch --multi_gpu --num_processes=2 train.py",
        "bash -c 'torchrun --nproc-per-node=2 train.py; echo next'",
    ],
    ids=["torchrun", "deepspeed", "accelerate", "shell"],
)
def test_all_ranks_save_before_anything_is_killed(worker, until, command):
    """
    A stop with 60 s of grace lets both ranks finish a save of 3 s together; nothing is killed,
    nothing is left, and no next command of a script begins.
    """
    (worker.work / "train.py").write_text(TRAIN)
    attempt = worker.run(command, gpus=(0, 1), grace="60s")

    def ready() -> bool:
        seen = worker.seen(attempt)
        assert seen is None or seen.phase != "ended", worker.output(attempt)
        return seen is not None and worker.output(attempt).count("ready") == 2

    worker.until_phase(attempt, "running")
    until(ready, "both ranks run", 120)
    worker.stop(attempt)
    ended = worker.until_clear(attempt, 60)
    said = worker.output(attempt)
    assert said.count("saved") == 2, said
    assert "next" not in said.splitlines()
    assert (ended.outcome, ended.exit.killed) == ("cancelled", 0)
    assert not worker.pids()
