"""The launchers themselves, with rewritten commands: two real ranks that meet over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests import ports

from berth.commands import NEUTRAL_ACCELERATE_CONFIG, LeaseFacts, Runtime, read, rewrite

pytest.importorskip("torch", reason="the launchers come with the trainer's requirements")
pytest.importorskip("deepspeed", reason="the launchers come with the trainer's requirements")

MEET = """\
import json, os, sys
import torch.distributed as dist

dist.init_process_group("gloo")
ranks = [None] * dist.get_world_size()
dist.all_gather_object(ranks, dist.get_rank())
if dist.get_rank() == 0:
    seen = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "MASTER_PORT")}
    print("MET", json.dumps({"ranks": ranks, "arguments": sys.argv[1:], **seen}), flush=True)
dist.destroy_process_group()
"""
# What an `accelerate config` of long ago says, and what a shell may still hold.
OLD_CONFIG = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
gpu_ids: '0,1'
main_process_port: 29500
mixed_precision: fp16
num_machines: 1
num_processes: 8
"""
OLD_SHELL = {
    "PET_STANDALONE": "1",
    "PET_NNODES": "2",
    "PET_MASTER_ADDR": "10.1.2.3",
    "PET_RDZV_ENDPOINT": "10.1.2.3:29400",
    "MASTER_ADDR": "10.1.2.3",
    "MASTER_PORT": "29500",
    "CUDA_VISIBLE_DEVICES": "0",
}


@pytest.fixture
def free_port() -> int:
    """A free port."""
    return ports.free_port()


@pytest.mark.parametrize(
    "line",
    [
        "deepspeed --num_gpus=4 --no_local_rank meet.py --gpu_ids 0,1,2,3 --max_gpus 4",
        "CUDA_VISIBLE_DEVICES=0,1,2,3 accelerate launch meet.py --gpu_ids 0,1,2,3 --max_gpus 4",
        "torchrun --standalone --nproc_per_node=gpu meet.py --gpu_ids 0,1,2,3 --max_gpus 4",
    ],
    ids=["deepspeed", "accelerate", "torchrun"],
)
def test_a_rewritten_command_starts_exactly_the_leased_ranks(line, tmp_path, free_port):
    """
    Two GPUs and a port are leased: two ranks start, see those GPUs and meet on that port,
    whatever an old configuration and an old shell environment say, without any real GPU.
    """
    (tmp_path / "meet.py").write_text(MEET)
    (tmp_path / "neutral.yaml").write_text(NEUTRAL_ACCELERATE_CONFIG)
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text(OLD_CONFIG)
    made = rewrite(
        read(line),
        LeaseFacts(indices=(2, 5), visible=(2, 5), port=free_port, simulated=True),
        Runtime(python=sys.executable, accelerate_config=str(tmp_path / "neutral.yaml")),
    )

    done = subprocess.run(
        made.argv,
        cwd=tmp_path,
        env=os.environ
        | {"HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        | OLD_SHELL
        | made.env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    met = [each for each in done.stdout.splitlines() if "MET " in each]
    assert len(met) == 1
    assert json.loads(met[0].partition("MET ")[2]) == {
        "ranks": [0, 1],
        "arguments": ["--gpu_ids", "2,5", "--max_gpus", "2"],
        "CUDA_VISIBLE_DEVICES": "2,5",
        "MASTER_PORT": str(free_port),
    }
