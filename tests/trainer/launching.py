"""Start of the trainer under each launcher in tests, and a reader of its output."""

import json
import sys
import time

import psutil
from tests.ports import free_port

LAUNCHERS = {
    "deepspeed": ["deepspeed", "--num_gpus=2", "--master_port={port}"],
    "deepspeed.launcher.launch": [
        "{python}", "-m", "deepspeed.launcher.launch",
        "--world_info=eyJsb2NhbGhvc3QiOiBbMCwgMV19", "--master_port={port}",
    ],
    "torchrun": ["torchrun", "--standalone", "--nproc-per-node=2"],
    "accelerate": [
        "accelerate", "launch", "--config_file={neutral}", "--use_deepspeed", "--zero_stage=3",
        "--num_processes=2", "--main_process_port=0",
    ],
    "accelerate --multi_gpu": [
        "accelerate", "launch", "--config_file={neutral}", "--multi_gpu", "--num_processes=2",
        "--main_process_port=0",
    ],
}  # fmt: skip


NEUTRAL = """\
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
machine_rank: 0
num_machines: 1
num_processes: 1
use_cpu: false
"""


def command(launcher, script, tmp_path, *words):
    neutral = tmp_path / "accelerate.yaml"
    neutral.write_text(NEUTRAL)
    filled = [
        word.format(port=free_port(), python=sys.executable, neutral=neutral)
        for word in LAUNCHERS[launcher]
    ]
    return [*filled, script, *words]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(path):
    return {line["step"]: line["loss"] for line in lines_of(path) if "loss" in line}


def wait_for(condition, run):
    deadline = time.monotonic() + 200
    while not condition():
        assert run.process.poll() is None, run.read()
        assert time.monotonic() < deadline, run.read()
        time.sleep(0.05)


def ranks_of(run):
    """The processes that train, by their rank."""
    found = {}
    for child in psutil.Process(run.process.pid).children(recursive=True):
        try:
            words, variables = child.cmdline(), child.environ()
        except psutil.Error:
            continue
        if any(word.endswith("train_deepspeed.py") for word in words) and "RANK" in variables:
            found[int(variables["RANK"])] = child
    return found
