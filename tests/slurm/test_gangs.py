"""Runs over several nodes of a real cluster: right ranks, one end for all, no one left behind."""

from __future__ import annotations

import signal

import psutil
import pytest

RANK = """
import os, sys, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
ones = torch.ones(1)
dist.all_reduce(ones)
rank, world = dist.get_rank(), dist.get_world_size()
print(f"rank {rank} of {world} on {os.environ['BERTH_GPU_UUIDS']} sums {ones.item():.0f}", flush=True)
what = sys.argv[-1]
if what == f"dies{rank}":
    os._exit(7)
while what != "ends":
    time.sleep(0.1)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture
def ranks(tmp_path):
    """A folder with a script for ranks, its last argument says what they do."""
    (tmp_path / "ranks.py").write_text(RANK)
    return tmp_path


def log_of(box, job: int, name: str) -> str:
    path = box.home / "runs" / str(job) / "1" / name
    return path.read_text() if path.exists() else ""


def logs(box, job: int) -> str:
    return log_of(box, job, "output.log") + log_of(box, job, "node-1.log")


def second_members(home) -> list[psutil.Process]:
    """The part of a run on its second node."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            is_member = "berth_worker.slurm.on_node.member" in words and str(home) in words
            parent = process.parent() if is_member else None
            started_by_slurm = parent is not None and parent.name().startswith("slurmstepd")
            if started_by_slurm and process.environ().get("SLURM_NODEID") == "1":
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found


def left(job: int) -> list[int]:
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BERTH_JOB_ID") == str(job):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    ("command", "world"),
    [
        ("torchrun --nnodes=2 --nproc-per-node=2 ranks.py ends", 4),
        ("deepspeed --num_nodes=2 --num_gpus=1 ranks.py ends", 2),
        ("accelerate launch --num_machines=2 --num_processes=2 ranks.py ends", 2),
    ],
)
def test_launchers_over_two_nodes(lab, ranks, command, world):
    """The pasted command becomes right for two nodes: ranks that find each other."""
    job = lab.submit(command=command, workdir=str(ranks))
    (ended,) = lab.wait(job, timeout_s=150)
    assert ended["state"] == "succeeded", (ended["message"], logs(lab, job))
    held = ended["attempts"][-1]["gpu_uuids"]
    nodes = {name.partition(":")[0] for name in held}
    assert (len(held), len(nodes)) == (world, 2)
    text = logs(lab, job)
    assert all(f"rank {rank} of {world}" in text for rank in range(world))
    assert text.count(f"sums {world}") == world
    assert log_of(lab, job, "output.log").count(f"sums {world}") == world // 2


def test_one_box_command_over_two_nodes(lab, ranks):
    """`nodes` spreads a command that says nothing of several machines."""
    job = lab.submit(
        command="torchrun --nproc-per-node=2 ranks.py ends", nodes=2, gpus_per_node=1,
        workdir=str(ranks),
    )  # fmt: skip
    (ended,) = lab.wait(job, timeout_s=150)
    assert ended["state"] == "succeeded", (ended["message"], logs(lab, job))
    assert logs(lab, job).count("of 2") == 2


def test_a_dead_rank_ends_the_gang(lab, ranks, until):
    """The others would wait for it until the time limit; the message is about the one that died."""
    command = "torchrun --nnodes=2 --nproc-per-node=1 ranks.py dies1"
    job = lab.submit(command=command, workdir=str(ranks))
    (ended,) = lab.wait(job, timeout_s=150)
    assert (ended["state"], ended["outcome"]) == ("failed", "exit")
    until(lambda: not left(job), "no rank is left")


def test_a_cancel_reaches_every_node(lab, ranks, until):
    """All ranks end, on both nodes."""
    command = "torchrun --nnodes=2 --nproc-per-node=1 ranks.py waits"
    job = lab.submit(command=command, workdir=str(ranks), grace="10s")
    until(lambda: logs(lab, job).count("sums 2") == 2, "both ranks run", 120)
    lab.post(f"/jobs/{job}/cancel")
    (ended,) = lab.wait(job, timeout_s=60)
    assert (ended["state"], ended["outcome"]) == ("cancelled", "cancelled")
    until(lambda: not left(job), "no rank is left")


def test_a_node_that_falls_silent(lab, ranks, until):
    """Slurm does not notice a killed step supervisor; the gang does, and ends everywhere."""
    command = "torchrun --nnodes=2 --nproc-per-node=1 ranks.py waits"
    job = lab.submit(command=command, workdir=str(ranks))
    until(lambda: logs(lab, job).count("sums 2") == 2, "both ranks run", 120)
    members = second_members(lab.home)
    assert members
    for process in members:
        process.send_signal(signal.SIGKILL)
    (ended,) = lab.wait(job, timeout_s=90)
    assert (ended["state"], ended["outcome"]) == ("failed", "lost")
    assert "stopped reporting" in ended["message"]


def test_a_command_that_cannot_span_nodes(lab):
    """It is refused with the launchers that can."""
    job = lab.submit(command=["sleep", "1"], nodes=2, gpus_per_node=1)
    (ended,) = lab.wait(job, timeout_s=90)
    assert ended["outcome"] == "launch_error"
    assert "deepspeed, accelerate and torchrun" in ended["message"]
