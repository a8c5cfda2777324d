"""Ranks that end together: one that dies takes the others with it, one that is done does not."""

import multiprocessing
import os
import signal
import time

import pytest
import torch.distributed

from berth_trainer.training.peers import Peers, wait_for_the_end
from berth_trainer.training.ranks import FAILED, Ranks

FORK = multiprocessing.get_context("fork")


def a_rank(rank, world, meeting, after):
    """A rank that no signal and no error ends, as one that waits for another in NCCL."""
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world
    )
    peers = Peers(Ranks(rank, rank, world, world, launched=True), end=lambda: os._exit(FAILED))
    peers.join()
    torch.distributed.barrier()
    signal.signal(signal.SIGTERM, lambda *_: None)
    after(rank, peers)
    while True:
        time.sleep(600)


@pytest.fixture
def started(tmp_path):
    """Ranks as processes of their own; each does `after` once all are connected."""
    running = []

    def start(world, after):
        meeting = tmp_path / "meeting"
        running.extend(
            FORK.Process(target=a_rank, args=(rank, world, meeting, after)) for rank in range(world)
        )
        for one in running:
            one.start()
        return running

    yield start
    for one in running:
        one.kill()
        one.join()


def codes(ranks, seconds=60):
    for one in ranks:
        one.join(seconds)
    return [one.exitcode for one in ranks]


@pytest.mark.parametrize("dying", [0, 1, 3])
def test_a_rank_that_dies_takes_the_others_with_it(started, dying, capfd):
    """Whichever it is, and one line says which."""

    def after(rank, _peers):
        if rank == dying:
            os.kill(os.getpid(), signal.SIGKILL)

    ranks = started(4, after)
    assert codes(ranks) == [-9 if rank == dying else FAILED for rank in range(4)]
    assert capfd.readouterr().err.count(f"rank {dying} ended before the run did") == 1


def test_a_rank_that_is_done_may_go_first(started, tmp_path):
    """It has said farewell: the others go on until they are done themselves."""
    gone = tmp_path / "gone"

    def after(rank, peers):
        peers.leave()
        if rank:
            os._exit(0)
        while not gone.exists():
            time.sleep(0.02)
        os._exit(7)

    ranks = started(3, after)
    assert codes(ranks[1:]) == [0, 0]
    assert ranks[0].is_alive()
    gone.touch()
    assert codes(ranks) == [7, 0, 0]


def test_only_an_error_of_a_broken_connection_waits(monkeypatch):
    """Any other error is told at once."""
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    wait_for_the_end(RuntimeError("CUDA out of memory"))
    wait_for_the_end(ValueError("a shape"))
    assert not waited
    wait_for_the_end(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"))
    assert len(waited) == 1
