"""On a real GPU: children of ended processes, and an MPS server that stays. `make test-gpu` runs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(200)]

# The parent takes memory and ends; its forked child, which the driver does not list, keeps it.
LEAVES_A_CHILD = """
import os, sys, time, warnings, torch
warnings.simplefilter("ignore")
x = torch.zeros(1 << 28, dtype=torch.float32, device="cuda")
torch.cuda.synchronize()
child = os.fork()
if child == 0:
    os.setsid()
    time.sleep(600)
    os._exit(0)
print(os.getpid(), child, flush=True)
time.sleep(float(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
CLIENT = "import torch; x = torch.ones(1 << 20, device='cuda'); print(float(x.sum()), flush=True)"


def first_gpu(box):
    return box.get("/gpus")["gpus"][0]


def test_the_child_of_an_ended_outsider_is_named_with_what_frees_the_gpu(gpu_box, until):
    """Not the pid that NVML goes on listing; when the child is killed the GPU is free."""
    words = [sys.executable, "-c", LEAVES_A_CHILD, "3"]
    outsider = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert outsider.stdout is not None
    parent, child = map(int, outsider.stdout.readline().split())
    outsider.wait()
    try:
        time.sleep(3)
        gpu = first_gpu(gpu_box)
        print("after the parent's end:", gpu["holder"]["sentence"], gpu["processes"])
        if gpu["memory_used_bytes"] < 1 << 30:
            pytest.skip("this driver frees the memory with the parent")
        until(
            lambda: f"kill {child}" in first_gpu(gpu_box)["holder"]["sentence"],
            f"the child {child} of {parent} is named",
            30,
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    until(lambda: first_gpu(gpu_box)["holder"]["kind"] == "free", "the GPU is free", 30)


def test_the_child_of_a_jobs_ended_process_is_ended_with_the_job(gpu_box, until):
    """A job's own leftovers go before its GPU is given on."""
    file = gpu_box.env["BERTH_HOME"] + "/leaves.py"
    Path(file).write_text(LEAVES_A_CHILD, encoding="utf-8")
    job = gpu_box.submit(command=[sys.executable, file, "1"], gpus=1)
    (ended,) = gpu_box.wait(job, timeout_s=120)
    print(ended["outcome"], gpu_box.log(job)[-500:])
    child = int(gpu_box.log(job).split()[-1])
    until(lambda: first_gpu(gpu_box)["holder"]["kind"] == "free", "the GPU is free", 60)
    with contextlib.suppress(FileNotFoundError):
        assert ") Z " in Path(f"/proc/{child}/stat").read_text(encoding="utf-8")


def test_an_mps_server_without_clients_keeps_no_job_waiting(gpu_box, until, tmp_path):
    """It stays after its last client; a job gets the GPU all the same."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        pytest.skip("no MPS here")
    env = os.environ | {
        "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe"),
        "CUDA_MPS_LOG_DIRECTORY": str(tmp_path / "log"),
    }
    (tmp_path / "pipe").mkdir()
    (tmp_path / "log").mkdir()
    if subprocess.run([control, "-d"], env=env, timeout=30).returncode != 0:
        pytest.skip("MPS cannot be started here")
    try:
        client = subprocess.run(
            [sys.executable, "-c", CLIENT], env=env, capture_output=True, text=True, timeout=120
        )
        if client.returncode != 0:
            pytest.skip(f"no client of MPS runs here: {client.stderr[-300:]}")
        listed = subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout
        print(listed[-900:])
        until(lambda: first_gpu(gpu_box)["holder"]["kind"] == "free", "the GPU is free", 30)
        job = gpu_box.submit(command=[sys.executable, "-c", CLIENT], gpus=1)
        (ended,) = gpu_box.wait(job, timeout_s=120)
        assert ended["state"] == "succeeded", gpu_box.log(job)
    finally:
        subprocess.run([control], input="quit\n", env=env, text=True, timeout=30)
