"""The launcher of sweeps, with the real Hydra against a real server and worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

APP = """
import os, logging, hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None, config_path=None)
def train(cfg):
    job = HydraConfig.get().job
    print("lr is", cfg.lr)
    logging.getLogger(__name__).info("logged by hydra")
    open("result.txt", "w").write(f"{job.num} {job.id} {os.environ['BERTH_JOB_ID']} {os.getcwd()}")
    if cfg.lr == 0.3:
        raise ValueError("too large")
    return cfg.lr * 2

train()
"""


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(APP)
    return subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/launcher=berth", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_each_run_of_a_sweep_is_a_job(queue, tmp_path):
    """With its number of GPUs, its own folder, and Hydra's log of what runs where."""
    done = sweep(
        tmp_path,
        *("+lr=0.1,0.2", "hydra.launcher.gpus_per_node=1", "hydra.launcher.priority=3"),
        *("+hydra.launcher.labels.study=x", "hydra.sweep.dir=out", "hydra.job.chdir=true"),
    )
    assert done.returncode == 0, done.stderr
    assert "HTTP Request" not in done.stdout + done.stderr
    jobs = {job["id"]: job for job in queue.get("/jobs", label="study=x")["jobs"]}
    assert len(jobs) == 2
    for number in (0, 1):
        said = (tmp_path / "out" / str(number) / "result.txt").read_text().split()
        assert said[0] == str(number)
        assert said[1] == said[2]
        job = jobs[int(said[1])]
        assert (job["gpus"], job["priority"], job["name"]) == (1, 3, "app")
        assert job["time_limit"] is None
        assert said[3] == str(tmp_path / "out" / str(number))
        log = queue.log(job["id"])
        assert "lr is" in log
        assert "logged by hydra" in log


def test_a_run_that_fails_ends_the_sweep_with_its_error(queue, tmp_path):
    """As with Hydra's other launchers."""
    done = sweep(tmp_path, "+lr=0.3", "hydra.launcher.gpus_per_node=0", "hydra.sweep.dir=out")

    assert done.returncode != 0
    assert "too large" in done.stderr


def test_the_parameters_are_listed(queue, tmp_path):
    """`--info` of Hydra shows them, and the plug-in is among the launchers."""
    (tmp_path / "app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "app.py", "hydra/launcher=berth", "+lr=1", "--cfg", "hydra"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("preemptible", "gpu_memory", "max_num_timeout"):
        assert f"{name}:" in done.stdout
