"""
Berth on a real NVIDIA GPU: NVML, fence, audit and a CUDA ZeRO-3 run. `make test-gpu` runs it.

Needs one GPU with 8 GiB free and no other process on it. What needs two is in test_two_gpus.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(580)]

OCCUPY = "import torch, sys; x = torch.empty(1 << 30, device='cuda'); print('on', flush=True); sys.stdin.read()"
# Every way in that a job without that GPU might try.
TRY_EVERYTHING = """
ls -l /dev/nvidia[0-9]*
nvidia-smi -L
{python} - <<'PY'
import os, torch
os.environ.pop("CUDA_VISIBLE_DEVICES", None)
print("cuda sees", torch.cuda.device_count())
try:
    torch.zeros(1, device="cuda")
    print("GOT IT")
except Exception as error:
    print("refused:", str(error).splitlines()[0])
PY
mount --bind /dev/zero /dev/nvidia0 && echo REMOUNTED
umount /dev/nvidia0 && echo UNMOUNTED
mknod /tmp/berth-own-nvidia0 c 195 0 && echo MADE A NODE
true
"""


def first_gpu(box):
    return box.get("/gpus")["gpus"][0]


def test_zero3_trains_and_a_second_job_for_the_same_gpu_waits(gpu_box, workspace, until):
    """
    The bundled trainer runs under real CUDA ZeRO-3 inside the fence; a job that asks for the
    same GPU waits, says for whom, and starts when the first has left.
    """
    count = len(gpu_box.get("/gpus")["gpus"])
    visible = ",".join(map(str, range(count)))
    first = gpu_box.submit(
        command=(
            f"CUDA_VISIBLE_DEVICES={visible} accelerate launch --num_processes={count} "
            "train_deepspeed.py --config config.json --ablation_config profile_and_history"
        ),
        workdir=str(workspace),
    )
    second = gpu_box.submit(script="nvidia-smi -L; echo second ran", gpus=count)
    gpu_box.wait(first, state={"running"})
    waiting = gpu_box.get(f"/jobs/{second}/explain")
    assert gpu_box.job(second)["state"] == "queued"
    assert f"{first}" in waiting["summary"]
    until(lambda: first_gpu(gpu_box)["processes"], "NVML shows the run on its GPU", 300)
    assert first_gpu(gpu_box)["holder"]["job_id"] == first
    done, after = gpu_box.wait(first, second, timeout_s=500)
    assert done["state"] == "succeeded", gpu_box.log(first)[-6000:]
    assert "ZeRO stage" in gpu_box.log(first)
    assert after["state"] == "succeeded", gpu_box.log(second)
    assert done["ended_at"] <= after["started_at"]
    losses = [p["loss"] for p in gpu_box.get(f"/jobs/{first}/metrics")["points"] if "loss" in p]
    assert losses[-1] < losses[0]


def test_an_outsider_keeps_a_job_waiting_and_is_named(gpu_box, until):
    """A process outside the queue is named with pid and user; nothing is placed on its GPU."""
    count = len(gpu_box.get("/gpus")["gpus"])
    outsider = subprocess.Popen(
        [sys.executable, "-c", OCCUPY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert outsider.stdout is not None
        assert outsider.stdout.readline() == b"on\n"
        until(lambda: first_gpu(gpu_box)["holder"]["kind"] == "outsider", "it is seen", 30)
        holder = first_gpu(gpu_box)["holder"]
        assert outsider.pid in holder["pids"]
        shown = subprocess.run(
            [str(Path(sys.executable).parent / "berth"), "gpus"]
            if (Path(sys.executable).parent / "berth").exists()
            else [sys.executable, "-m", "berth.cli.main", "gpus"],
            env={**gpu_box.env, "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        assert str(outsider.pid) in shown.stdout, shown
        job = gpu_box.submit(script="echo at last", gpus=count)
        until(lambda: gpu_box.job(job)["reason"], "the job says why it waits")
        why = gpu_box.get(f"/jobs/{job}/explain")
        assert str(outsider.pid) in str(why)
        assert gpu_box.job(job)["state"] == "queued"
    finally:
        outsider.kill()
        outsider.wait()
    (ended,) = gpu_box.wait(job)
    assert ended["state"] == "succeeded"


def test_a_job_cannot_reach_a_gpu_that_is_not_its_own(gpu_box):
    """A job without a lease on the GPU gets it by no way: not CUDA, nvidia-smi, mount, mknod."""
    assert gpu_box.get("/gpus")["fence"] == "namespace"
    job = gpu_box.submit(script=TRY_EVERYTHING.format(python=sys.executable), gpus=0)
    gpu_box.wait(job, timeout_s=120)
    log = gpu_box.log(job)
    assert "cuda sees 0" in log
    for forbidden in ("GOT IT", "REMOUNTED", "UNMOUNTED", "MADE A NODE", "GPU 0:"):
        assert forbidden not in log, log


def test_a_killed_cuda_job_gives_its_gpu_back_only_when_it_is_empty(gpu_box, until):
    """A job that ignores TERM is killed; its GPU is free again only when its memory is gone."""
    body = f"""{sys.executable} -c "
import signal, torch, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
x = torch.zeros(1 << 30, device='cuda')
print('holding', flush=True)
while True: time.sleep(1)"
"""
    job = gpu_box.submit(script=body, gpus=1, grace="1s")
    until(lambda: "holding" in gpu_box.log(job), "it holds memory", 120)
    assert gpu_box.post(f"/jobs/{job}/cancel").status_code == 200
    (ended,) = gpu_box.wait(job)
    assert ended["state"] == "cancelled"
    index = ended["gpu_indices"][0]
    until(
        lambda: gpu_box.get("/gpus")["gpus"][index]["holder"]["kind"] == "free", "the GPU is free"
    )
    # Asked of the driver itself: the map's figures may be a second old.
    used_mib = subprocess.run(
        ["nvidia-smi", f"--id={index}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(used_mib) < 2048, "the gigabytes it held were gone before the GPU was free"
