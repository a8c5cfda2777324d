"""Over REST: headers of scripts, launchers' files, pasted texts and what is noted."""

from __future__ import annotations

import json

import pytest

JOBS = "/api/v1/jobs"


@pytest.fixture
def submit(api, tmp_path):
    """Submit in a folder of the test's own; the job as it is answered."""

    def post(expected: int = 201, **spec):
        answer = api.post(JOBS, json={"workdir": str(tmp_path), **spec})
        assert answer.status_code == expected, answer.text
        return answer.json()

    return post


def test_a_scripts_header_fills_what_the_spec_leaves_open(submit):
    """The same script means the same from every client."""
    script = "#!/bin/bash\n#SBATCH --gres=gpu:2 -t 60 -J train --mem=4G\ntrue\n"

    job = submit(script=script, hold=True)
    mine = submit(script=script, gpus=1, name="mine", hold=True)

    assert (job["gpus"], job["name"], job["time_limit"]) == (2, "train", "1h")
    assert (mine["gpus"], mine["name"]) == (1, "mine")
    assert [warning for warning in job["warnings"] if "--mem=4G" in warning]


def test_what_a_header_cannot_have_is_refused_by_its_field(submit):
    """As from the command line."""
    problem = submit(422, script="#SBATCH --nodes=2\ntrue\n")

    assert "runs a script on one" in json.dumps(problem)
    assert "depends_on" in json.dumps(submit(422, script="#SBATCH -d afterok:999\ntrue\n"))


def test_an_array_over_rest_is_one_job_and_says_so(submit):
    """Never silently a tenth of what was asked for."""
    job = submit(script="#SBATCH --array=0-9\ntrue\n", hold=True, gpus=0)

    assert any("10 tasks" in warning for warning in job["warnings"])


def test_a_launchers_file_says_how_many_gpus(submit, api, tmp_path):
    """Read in the job's folder as its user."""
    (tmp_path / "sft.yaml").write_text("num_processes: 3\n")
    job = submit(command="trl sft --config sft.yaml", hold=True)

    assert job["gpus"] == 3
    assert job["warnings"] == []
    assert submit(command="trl sft --config none.yaml", hold=True)["gpus"] == 1


def test_the_jobs_own_variables_count_too(submit):
    """`--env NPROC_PER_NODE=2` is what the launcher will read."""
    job = submit(command="swift sft --model m", env={"NPROC_PER_NODE": "2"}, hold=True)

    assert job["gpus"] == 2


def test_a_note_stands_at_submit_in_show_and_in_why(submit, api):
    """And not where the job says how many GPUs it wants."""
    job = submit(command="llamafactory-cli train x.yaml", hold=True)

    shown = api.get(f"{JOBS}/{job['id']}").json()["warnings"]
    why = api.get(f"{JOBS}/{job['id']}/explain").json()["notes"]
    assert shown == why == job["warnings"]
    assert "NPROC_PER_NODE=N" in shown[0]
    assert submit(command="llamafactory-cli train x.yaml", gpus=2, hold=True)["warnings"] == []


def test_ranks_that_only_the_code_knows_are_noted(submit, tmp_path):
    """Lightning's Trainer(devices=4), until the job sets its GPUs."""
    (tmp_path / "t.py").write_text("from lightning import Trainer\nTrainer(devices=4)\n")

    for _ in range(2):
        job = submit(command="python t.py", hold=True)
        assert any("devices=4" in warning for warning in job["warnings"])
    assert submit(command="python t.py", gpus=4, hold=True)["warnings"] == []


def test_ranks_that_only_a_shell_script_starts_are_noted(submit, tmp_path):
    """`bash dist.sh CONFIG 8`, as many repositories have it: read with its arguments."""
    lines = "#!/usr/bin/env bash\nGPUS=$2\ntorchrun --nproc_per_node=$GPUS train.py $1 ${@:3}\n"
    (tmp_path / "dist.sh").write_text(lines)
    (tmp_path / "dist.sh").chmod(0o755)
    (tmp_path / "prepare.sh").write_text("python convert.py\n")

    for command in ("bash dist.sh c.py 8", "PORT=1 ./dist.sh c.py 8 | tee log"):
        job = submit(command=command, hold=True)
        assert any("dist.sh" in note and "--gpus 8" in note for note in job["warnings"])
    job = submit(command="bash dist.sh c.py $N", hold=True)
    assert any("dist.sh" in note and "--gpus N" in note for note in job["warnings"])
    for spec in ({"command": "bash prepare.sh"}, {"command": "bash dist.sh c.py 8", "gpus": 8}):
        job = submit(**spec, hold=True)
        assert not any("--gpus" in note for note in job["warnings"])


def test_a_pasted_text_becomes_jobs_that_could_be_submitted(api, submit):
    """What each is, how many GPUs, what will be rewritten; nothing is written."""
    text = (
        "First\n```bash\n# good\ndeepspeed --num_gpus=2 a.py\n"
        "torchrun --nnodes=2 b.py\n```\n```\n#!/bin/bash\n#SBATCH -G 4 --array=0-1\npython c.py\n```\n"
    )

    jobs = api.post(f"{JOBS}/parse", json={"text": text}).json()["jobs"]

    assert [(j["launcher"], j["gpus"], j["line"]) for j in jobs] == [
        ("deepspeed", 2, 4), ("other", None, 5), ("shell", 4, 8),
    ]  # fmt: skip
    assert jobs[0]["comment"] == "good"
    assert jobs[0]["after"].startswith("CUDA_VISIBLE_DEVICES=0,1 python -u -m deepspeed")
    assert any(change["what"] == "--num_gpus=2" for change in jobs[0]["changes"])
    assert "this box only" in jobs[1]["problem"]
    assert jobs[2]["tasks"] == [0, 1]
    assert api.get(JOBS).json()["jobs"] == []
    assert submit(script=jobs[2]["script"], hold=True)["gpus"] == 4


def test_a_text_without_a_launch_gives_none(api):
    """An empty list is an answer; a wrong body is not."""
    assert api.post(f"{JOBS}/parse", json={"text": "Hello."}).json() == {"jobs": []}
    assert api.post(f"{JOBS}/parse", json={"txt": "x"}).status_code == 422
