"""Jobs of one node on a real cluster: where they run, what they see, how they end."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import pydantic
import pytest

import berth
import berth_worker

MARKED = 'echo "$BERTH_ATTEMPT" >> {marks}; '


def seconds(job) -> float:
    begun, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "ended_at"))
    return (ended - begun).total_seconds()


def test_two_runs_side_by_side(lab):
    """Each has the GPUs that Slurm gave it, sees them alone, and ends with its own exit code."""
    script = 'echo "sees $CUDA_VISIBLE_DEVICES as $BERTH_GPU_UUIDS"; sleep 1; exit {code}'
    jobs = [lab.submit(script=script.format(code=code), gpus=4) for code in (0, 3)]
    ended = lab.wait(*jobs)

    assert [(job["state"], job["exit_code"]) for job in ended] == [("succeeded", 0), ("failed", 3)]
    held = [set(job["attempts"][-1]["gpu_uuids"]) for job in ended]
    assert all(len(gpus) == 4 for gpus in held)
    assert not held[0] & held[1]
    # Each node finds a free port itself: the server's own are another machine's, and few.
    assert all(job["attempts"][-1].get("master_port") is None for job in ended)
    for job, gpus in zip(jobs, held, strict=True):
        indices = sorted(int(name.partition(":")[2]) for name in gpus)
        sees = ",".join(map(str, indices))
        assert f"sees {sees} as {','.join(sorted(gpus))}" in lab.log(job)


def test_jobs_past_the_queue_are_on_the_map(lab, submitted, until):
    """Another's job holds its GPU on the map; a job planned there gets what Slurm gives it."""
    number = submitted("--gpus-per-node=1", "--nodelist=n1")

    def holder():
        return next((gpu["holder"] for gpu in lab.get("/gpus")["gpus"] if gpu["processes"]), None)

    until(lambda: holder() and holder()["kind"] == "outsider", "the job is on the map")
    assert f"Slurm job {number} of" in holder()["sentence"]
    job = lab.submit(command=["sleep", "600"], gpus=7)
    lab.wait(job, state={"running"})
    held = {gpu["uuid"] for gpu in lab.get("/gpus")["gpus"] if gpu["holder"]["job_id"] == job}
    assert held == set(lab.job(job)["attempts"][-1]["gpu_uuids"])
    assert len(held) == 7
    assert lab.post(f"/jobs/{job}/cancel").status_code == 200
    lab.wait(job)


def test_a_drained_node_says_why(lab, clean, until):
    """Its GPUs are unhealthy with Slurm's reason, and nothing is placed there."""
    clean.ask("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=new fan")

    def told():
        gpus = [gpu for gpu in lab.get("/gpus")["gpus"] if gpu["node"] == "n2"]
        return {gpu["holder"]["sentence"] for gpu in gpus}

    until(lambda: any("new fan" in each for each in told()), "the map tells the reason")
    jobs = [lab.submit(command=["sleep", "600"], gpus=8) for _ in range(2)]
    lab.wait(*jobs, state={"running"})
    nodes = {g.partition(":")[0] for j in jobs for g in lab.job(j)["attempts"][-1]["gpu_uuids"]}
    assert nodes == {"n1", "n3"}
    for job in jobs:
        lab.post(f"/jobs/{job}/cancel")
    lab.wait(*jobs)


def test_a_cancelled_run_gets_its_grace(lab):
    """TERM reaches the job, which has time to clean up."""
    script = "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    job = lab.submit(script=script, gpus=1)
    lab.wait(job, state={"running"})
    while "ready" not in lab.log(job):
        pass
    lab.post(f"/jobs/{job}/cancel")
    (ended,) = lab.wait(job)
    assert (ended["state"], ended["outcome"]) == ("cancelled", "cancelled")
    assert "cleaned" in lab.log(job)


def test_a_waiting_job_is_taken_back(lab, clean, until, tmp_path):
    """What waits in Slurm says so, and a cancelled one never starts."""
    clean.ask("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    marks = tmp_path / "marks"
    try:
        job = lab.submit(script=MARKED.format(marks=marks), gpus=2)
        until(lambda: "waits in Slurm" in (lab.job(job)["message"] or ""), "it says it waits")
        lab.post(f"/jobs/{job}/cancel")
        (ended,) = lab.wait(job)
        assert ended["state"] == "cancelled"
    finally:
        clean.ask("scontrol", "update", "PartitionName=gpu", "State=UP")
    until(lambda: not clean.ask("squeue", "-h"), "Slurm has nothing left")
    assert not marks.exists()


def test_cancelled_in_slurm(lab, clean):
    """The end says who ended it."""
    job = lab.submit(command=["sleep", "600"], gpus=1)
    lab.wait(job, state={"running"})
    clean.ask("scancel", *clean.ask("squeue", "-h", "-o", "%A").split())
    (ended,) = lab.wait(job)
    assert (ended["state"], ended["outcome"]) == ("cancelled", "cancelled")
    assert "cancelled in Slurm" in ended["message"]


def test_the_time_limit_is_to_the_second(lab):
    """Slurm rounds to minutes and looks every 30 s; the shim does neither."""
    job = lab.submit(command=["sleep", "600"], gpus=1, time_limit="3s", grace="1s")
    (ended,) = lab.wait(job)
    assert ended["outcome"] == "time_limit"
    assert 3 <= seconds(ended) < 8


def test_refused_by_slurm(clean, open_box, tmp_path):
    """The launch error is sbatch's own sentence."""
    logs = tmp_path / "daemons"
    logs.mkdir()
    settings = 'executor = "slurm"\n[slurm]\nargs = ["--constraint=gold"]\n'
    with open_box(logs, settings=settings) as box:
        job = box.submit(command=["true"], gpus=1)
        (ended,) = box.wait(job)
    assert ended["outcome"] == "launch_error"
    assert ended["message"].startswith("Slurm refused it: ")


def test_more_than_a_node_has(lab):
    """It is refused at submit, with the size of the largest node."""
    answer = lab.post("/jobs", {"command": "true", "gpus": 9, "workdir": "/"})
    assert answer.status_code == 422
    assert "the largest node of the cluster has 8" in answer.text


def test_a_node_without_berth(clean, open_box, tmp_path):
    """The launch error quotes what the node said."""
    logs = tmp_path / "daemons"
    logs.mkdir()
    with open_box(logs, settings='executor = "slurm"\n[slurm]\npython = "/no/python"\n') as box:
        (ended,) = box.wait(box.submit(command=["true"], gpus=1))
    assert ended["outcome"] == "launch_error"
    assert "/no/python: not found" in ended["message"]


@pytest.fixture
def public_berth(anyones_python, tmp_path_factory) -> str:
    """A Python with Berth that every user may run: the one here may lie in root's home."""
    folder = Path(tempfile.mkdtemp(prefix="berth-public-"))
    folder.chmod(0o755)
    found = [Path(module.__file__).parents[1] for module in (berth, berth_worker, pydantic)]
    program = folder / "python"
    where = ":".join(map(str, found))
    program.write_text(f'#!/bin/sh\nPYTHONPATH={where} exec {anyones_python} "$@"\n')
    program.chmod(0o755)
    yield str(program)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root submits for other users")
def test_a_job_of_another_user(clean, open_box, public_berth, tmp_path):
    """It runs with its user's id, group and home."""
    user = pwd.getpwnam("nobody")
    logs = tmp_path / "daemons"
    logs.mkdir()
    settings = f'executor = "slurm"\n[slurm]\npython = "{public_berth}"\n'
    with open_box(logs, settings=settings) as lab:
        _as_another(lab, user)


def _as_another(lab, user) -> None:
    folder = Path(lab.home)
    folder.chmod(0o755)
    spec = {"script": 'id -u; id -g; echo "home $HOME"', "gpus": 1, "workdir": "/"}
    code = (
        "import http.client, os, socket, sys\n"
        "os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[2]))\n"
        "c = http.client.HTTPConnection('berth')\n"
        "c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[3])\n"
        "c.request('POST', '/api/v1/jobs', sys.argv[4], {'Content-Type': 'application/json'})\n"
        "print(c.getresponse().read().decode())\n"
    )
    words = [str(user.pw_gid), str(user.pw_uid), str(folder / "run" / "berth.sock")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, json.dumps(spec)], capture_output=True, text=True
    )
    job = json.loads(done.stdout)["id"]
    (ended,) = lab.wait(job)
    assert ended["state"] == "succeeded", ended["message"]
    assert lab.log(job).split("\n")[:3] == [
        str(user.pw_uid), str(user.pw_gid), f"home {user.pw_dir}",
    ]  # fmt: skip


def test_doctor_checks_the_cluster(lab):
    """Controller, nodes, accounting, and what only a job on a node can tell."""
    environment = {**lab.env, **{k: os.environ[k] for k in ("SLURM_CONF", "PATH")}}
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli.main", "doctor", "--json"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    found = {each["what"]: each for each in json.loads(done.stdout)}
    assert found["slurm"]["level"] == "ok"
    assert found["nodes"]["sentence"] == "3 nodes with 24 GPUs."
    assert found["accounting"]["level"] == "warn"
    assert found["a node"]["level"] == "ok", found["a node"]
    assert "gpus" not in found


def checked(home: Path, settings: str) -> dict[str, tuple[str, str]]:
    """The findings about the cluster, for a home of these settings."""
    (home / "berth.toml").write_text(f'executor = "slurm"\n[slurm]\n{settings}\n')
    done = subprocess.run(
        [sys.executable, "-m", "berth_worker.slurm"],
        env={**os.environ, "BERTH_HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {what: (level, sentence) for what, level, sentence, _ in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ('python = "/no/python"', "/no/python"),
        ('args = ["--partition=nowhere"]', "Invalid partition name"),
    ],
)
def test_doctor_finds_what_a_node_lacks(clean, tmp_path, settings, sentence):
    """One small job tells what only a node can."""
    level, told = checked(tmp_path, settings)["a node"]
    assert level == "fail"
    assert sentence in told


def test_doctor_names_a_drained_node(clean, tmp_path):
    """With Slurm's reason."""
    clean.ask("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=new fan")
    found = checked(tmp_path, "")
    assert found["n2"] == ("warn", "n2 is drain in Slurm: new fan.")
    assert found["a node"][0] == "ok"
    assert [found[what][0] for what in ("processes", "fence")] == ["warn", "warn"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["berth.toml"]
