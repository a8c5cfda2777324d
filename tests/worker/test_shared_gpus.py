"""Two jobs on one GPU: the limits each gets, and their processes as the worker sees them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import DesiredAttempt
from berth_worker.launch import sharing
from berth_worker.launch.interpreter import Interpreter

GIB = 1 << 30
OTHER = 65534 if os.geteuid() == 0 else None
_HEADER = "lib/python3.11/site-packages/torch/include/c10/cuda/CUDAAllocatorConfig.h"


@pytest.fixture
def gpu() -> GpuSnapshot:
    """A GPU of 80 GiB."""
    return GpuSnapshot(
        uuid="GPU-a", index=0, name="H100", memory_total_bytes=80 * GIB, memory_used_bytes=0
    )


def attempt(**fields) -> DesiredAttempt:
    """An attempt on that GPU."""
    spec = {
        "attempt": "1.1",
        "token": "t",
        "action": "run",
        "run_dir": "/runs/1/1",
        "job_id": 1,
        "number": 1,
        "user": "ada",
        "workdir": "/",
        "grace": "5s",
        "warn_before": "5s",
        "gpus": [{"uuid": "GPU-a", "index": 0}],
        **fields,
    }
    return DesiredAttempt.model_validate_json(json.dumps(spec))


def with_torch(folder: Path, header: str) -> Interpreter:
    """An environment whose torch has this header."""
    path = folder / _HEADER
    path.parent.mkdir(parents=True)
    path.write_text(header)
    return Interpreter(str(folder / "bin" / "python"))


class TestSoftCaps:
    """Variables that make frameworks keep to the part."""

    def test_torch_and_jax_get_the_share_of_the_gpu(self, gpu, tmp_path):
        """As a fraction of the GPU's memory."""
        python = with_torch(tmp_path, 'keys{"per_process_memory_fraction", "x"};')
        found = sharing.variables(attempt(share=True, gpu_memory=20 * GIB), [gpu], python)
        assert found["PYTORCH_CUDA_ALLOC_CONF"] == "per_process_memory_fraction:0.2500"
        assert found["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.2500"

    def test_a_torch_that_does_not_know_the_option_is_spared(self, gpu, tmp_path):
        """It would refuse to start."""
        python = with_torch(tmp_path, 'keys{"expandable_segments"};')
        found = sharing.variables(attempt(share=True, gpu_memory=20 * GIB), [gpu], python)
        assert "PYTORCH_CUDA_ALLOC_CONF" not in found

    def test_whole_gpus_are_not_capped(self, gpu, tmp_path):
        """Whatever least memory the job asked for."""
        python = with_torch(tmp_path, '"per_process_memory_fraction"')
        assert sharing.variables(attempt(gpu_memory=20 * GIB), [gpu], python) == {}


HEADERS = {
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path),
    "without end": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none_holds_up_no_job(worker, name):
    """Many shares of one user whose environment cannot be read: others start, and so do they."""
    environment = worker.work / "env"
    header = environment / _HEADER
    header.parent.mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(sys.executable)
    HEADERS[name](header)
    shares = [
        worker.run("true", gpus=(0,), share=True, gpu_memory=GIB, python=str(environment))
        for _ in range(45)
    ]
    assert worker.until_clear(worker.run(script="exit 7", uid=OTHER)).exit.exit_code == 7
    for share in shares:
        assert worker.until_clear(share, 60).exit.exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks as others")
def test_an_environment_is_looked_at_as_the_jobs_user(gpu, tmp_path):
    """What only root may read does not count, whichever user points at it."""
    python = with_torch(tmp_path, '"per_process_memory_fraction"')
    header = tmp_path / _HEADER
    header.chmod(0o600)
    share = attempt(share=True, gpu_memory=20 * GIB, uid=65534)
    assert "PYTORCH_CUDA_ALLOC_CONF" not in sharing.variables(share, [gpu], python)


def test_two_jobs_share_a_gpu_and_leave_it_one_by_one(worker, until):
    """Both see the same GPU and are seen on it; the first is clear while the second goes on."""
    sleep = ["bash", "-c", "echo $CUDA_VISIBLE_DEVICES $BERTH_GPU_MEMORY_BYTES; exec sleep 600"]
    first = worker.run(sleep, gpus=[3], share=True, gpu_memory=20 * GIB)
    second = worker.run(sleep, gpus=[3], share=True, gpu_memory=30 * GIB)
    worker.until_phase(first, "running")
    worker.until_phase(second, "running")

    def seen() -> set[str | None]:
        report = next((r for r in reversed(worker.server.reports) if r.snapshot), None)
        return {p.attempt for p in report.snapshot.gpus[3].processes} if report else set()

    until(lambda: seen() == {first, second}, "both are seen on the GPU")
    assert worker.output(first).split() == ["3", str(20 * GIB)]
    assert worker.output(second).split() == ["3", str(30 * GIB)]
    worker.stop(first)
    worker.until_clear(first)
    assert worker.seen(second).phase == "running"
    until(lambda: seen() == {second}, "the second alone is seen on the GPU")


def test_the_control_file_says_what_a_process_holds(worker, until):
    """By job, so that a share that is exceeded can be tried without a GPU."""
    control = worker.home / "simulated.json"
    control.write_text(json.dumps({"uses": [{"job": 900, "memory": "24GiB"}]}))
    one = worker.run(["sleep", "600"], gpus=[5], job_id=900)
    worker.run(["sleep", "600"], gpus=[6], job_id=901)
    worker.until_phase(one, "running")

    def held() -> dict[str | None, int | None]:
        report = next((r for r in reversed(worker.server.reports) if r.snapshot), None)
        gpus = report.snapshot.gpus if report else ()
        return {p.attempt: p.memory_bytes for gpu in gpus for p in gpu.processes}

    until(lambda: held().get(one) == 24 * GIB, "it holds what the file says")
    assert (until(lambda: held().get("901.1"), "the other is seen") or 0) < GIB
