"""Stalled and sick runs, and everything that looks like one and is none."""

from __future__ import annotations

import pytest

from berth_server.core.progress.losses import Losses
from berth_server.core.progress.stalls import (
    GpuLoad,
    ProcessActivity,
    Steps,
    Suspicion,
    Vitals,
    is_alive,
)

LIMIT_W = 700.0
TRAINS = GpuLoad(98.0, 640.0, LIMIT_W)
SPINS = GpuLoad(100.0, 123.0, LIMIT_W)
IDLE = GpuLoad(0.0, 116.0, LIMIT_W)
HOUR = 3600.0
STEPS = Steps(last_at=HOUR, usual_s=2.0, longest_s=40.0)
"""Steps of two seconds for an hour, the longest pause a checkpoint of forty."""


def vitals(*then: tuple[GpuLoad, ...], for_s: float = 2 * HOUR) -> Vitals:
    """Half an hour of training on four GPUs, then these loads, in turn every ten seconds."""
    made = Vitals()
    for at in range(int(HOUR) - 1800, int(HOUR), 10):
        made.look(at, [TRAINS] * 4)
    for i in range(int(for_s / 10)):
        made.look(HOUR + 10 * i, then[i % len(then)])
    return made


def suspected(*then: tuple[GpuLoad, ...], after_s: float, wrote_s: float = 0.0) -> str | None:
    found = vitals(*then, for_s=after_s).suspicion(HOUR + after_s, STEPS, HOUR + wrote_s)
    return None if found is None else found.kind


def test_ranks_that_wait_for_a_lost_one_are_suspected_after_a_quarter_of_an_hour():
    """Full utilisation at almost idle power, no step and no line: utilisation cannot tell."""
    assert suspected((SPINS,) * 4, after_s=800) is None
    assert suspected((SPINS,) * 4, after_s=1000) == "waiting"
    assert suspected((SPINS, SPINS, IDLE, SPINS), after_s=1000) == "waiting"


def test_a_run_that_does_nothing_is_suspected_after_half_an_hour():
    """GPUs and processes idle: a loader that died, a lock."""
    assert suspected((IDLE,) * 4, after_s=1700) is None
    assert suspected((IDLE,) * 4, after_s=1900) == "idle"


@pytest.mark.parametrize(
    "then",
    [
        ((TRAINS,) * 4,),  # all evaluate
        ((TRAINS, SPINS, SPINS, SPINS),),  # rank 0 evaluates, the others wait
        ((GpuLoad(35.0, 210.0, LIMIT_W),) * 4,),  # generation, token by token
        ((SPINS,) * 4, (TRAINS,) * 4),  # batches that come seldom
        ((GpuLoad(None, None, None),) * 4,),  # the driver does not tell
        ((GpuLoad(100.0, None, None),) * 4,),
    ],
)
def test_evaluation_is_no_stall_however_long(then):
    """While any GPU works, or nobody can tell, nothing is suspected."""
    assert suspected(*then, after_s=2 * HOUR) is None


def test_a_log_that_grows_is_no_stall():
    """Evaluation on the processor, a download, data preparation: they say so now and then."""
    assert suspected((IDLE,) * 4, after_s=2 * HOUR, wrote_s=2 * HOUR - 300) is None
    assert suspected((SPINS,) * 4, after_s=2 * HOUR, wrote_s=2 * HOUR - 300) is None


def test_what_took_long_before_may_take_long_again():
    """A pause is measured by the longest so far, and by the usual step."""
    slow = Steps(last_at=HOUR, usual_s=200.0, longest_s=200.0)
    assert vitals((SPINS,) * 4).suspicion(HOUR + 3000, slow, None) is None
    paused = Steps(last_at=HOUR, usual_s=2.0, longest_s=1500.0)
    assert vitals((IDLE,) * 4).suspicion(HOUR + 4000, paused, None) is None


def test_before_the_first_steps_nothing_is_suspected():
    """Loading, preparing data and compiling may take hours, with idle GPUs."""
    made = Vitals()
    for at in range(0, 20_000, 10):
        made.look(at, [IDLE] * 4)
    assert made.suspicion(20_000.0, None, 60.0) is None
    spins = Vitals()
    for at in range(0, 20_000, 10):
        spins.look(at, [SPINS] * 4)
    # They never drew more: a small model may well look like this.
    assert spins.suspicion(20_000.0, None, 60.0) is None


def test_a_small_model_at_low_power_is_no_stall():
    """It drew no more while its steps came."""
    made = Vitals()
    for at in range(0, 20_000, 10):
        made.look(at, [SPINS])
    assert made.suspicion(20_000.0, Steps(18_000.0, 2.0, 40.0), 18_000.0) is None


WAITING = Suspicion("waiting", HOUR, (0, 1, 2))
RANKS = [ProcessActivity(100 + i, cpu=1.0, io_bytes_s=0.0, gpu=i, rank=i) for i in range(3)]
STILL = ProcessActivity(103, cpu=0.01, io_bytes_s=0.0, gpu=3, rank=3)


def test_ranks_that_spin_beside_one_that_does_nothing_have_stalled():
    """A rank on a GPU that spins keeps a processor busy with waiting: that is no work."""
    assert not is_alive(WAITING, [*RANKS, STILL, ProcessActivity(99, cpu=0.0, io_bytes_s=10.0)])


@pytest.mark.parametrize(
    "busy",
    [
        ProcessActivity(103, cpu=0.97, io_bytes_s=0.0, gpu=3, rank=3),  # compiles, in the rank
        ProcessActivity(200, cpu=0.6, io_bytes_s=0.0),  # nvcc, a loader that prepares data
        ProcessActivity(103, cpu=0.02, io_bytes_s=3e7, gpu=3, rank=3),  # writes a checkpoint
        ProcessActivity(103, cpu=0.0, io_bytes_s=0.0, gpu=3, rank=3, debugged=True),
    ],
)
def test_compiling_checkpoints_data_and_debuggers_are_no_stall(busy):
    """One process that does something for the run is enough."""
    assert is_alive(WAITING, [*RANKS, busy])


def test_nobody_knows_without_processes():
    """A look that found none says nothing."""
    assert is_alive(WAITING, [])


def test_a_gpu_that_becomes_unlike_its_peers_is_named():
    """Against what it was at first, so that stages of a pipeline may differ from the start."""
    made = Vitals()
    late = GpuLoad(99.0, 320.0, LIMIT_W)
    for at in range(0, 700, 10):
        made.look(at, [TRAINS, late, TRAINS, TRAINS])
    assert made.unlike(690.0, Steps(690.0, 2.0, 5.0)) is None  # the first stage of a pipeline
    for at in range(700, 1500, 10):
        made.look(at, [TRAINS, late, GpuLoad(99.0, 330.0, LIMIT_W), TRAINS])
    assert made.unlike(1490.0, Steps(1490.0, 2.0, 5.0)) == 2
    assert made.unlike(1490.0, Steps(1200.0, 2.0, 5.0)) is None  # no steps: evaluation on one rank


def test_a_loss_is_lost_when_it_stays_so():
    """A skipped step of half precision is none; words like `info` and `finance` are none either."""
    losses = Losses()
    losses.read(b"step 1 loss: 2.31\nstep 2 loss: nan\nstep 3 loss: inf\nstep 4 loss: 2.2\n")
    assert not losses.diverged
    losses.read(b"loss=nan finance info loss information\n{'loss': 'nan', 'lr': 1e-4}\n")
    assert not losses.diverged
    losses.read(b"train_loss NaN\n")
    assert losses.diverged
    losses.read(b"eval_loss: 1.9\nloss: nan\nstep 9 loss: 1.9\n")
    assert losses.diverged
    losses.read(b"step 10 loss: 1.9\n" * 30)
    assert not losses.diverged
