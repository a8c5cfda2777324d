"""Bad input gets one clear sentence that names the fix, and wedges nothing."""

from __future__ import annotations

import pytest

REFUSED = {
    "an unknown field": ({"command": "true", "gpu": 4}, "gpus"),
    "more GPUs than the box has": ({"command": "true", "gpus": 99}, "8"),
    "a negative count": ({"command": "true", "gpus": -1}, "gpus"),
    "neither command nor script": ({}, "command"),
    "both": ({"command": "true", "script": "true"}, "exactly one"),
    "an empty command": ({"command": "  "}, "empty"),
    "an open quote": ({"command": "python 'train.py"}, "closed"),
    "a missing script": ({"command": "python nowhere.py"}, "nowhere.py"),
    "a missing folder": ({"command": "true", "workdir": "/nowhere/at/all"}, "/nowhere/at/all"),
    "a relative folder": ({"command": "true", "workdir": "here"}, "absolute"),
    "a missing interpreter": ({"command": "true", "python": "/no/python"}, "/no/python"),
    "an unknown dependency": ({"command": "true", "depends_on": [4242]}, "4242"),
    "a strange duration": ({"command": "true", "time_limit": "soon"}, "12h"),
    "a strange size": ({"command": "true", "gpu_memory": "much"}, "20GiB"),
    "several nodes": ({"command": "deepspeed --num_nodes=2 train_deepspeed.py"}, "this box"),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.replace(" ", "-"))
def test_each_mistake_gets_one_sentence(shared_box, case):
    """The answer is problem+json whose detail names the fix, without a stack trace."""
    spec, word = REFUSED[case]
    answer = shared_box.post("/jobs", {"workdir": str(shared_box.home), **spec})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    text = problem["detail"] + " ".join(field["problem"] for field in problem["fields"])
    assert word.lower() in (text + " ".join(f["field"] for f in problem["fields"])).lower()
    assert "Traceback" not in answer.text
    assert "\n" not in problem["detail"]
    assert problem["detail"].rstrip()[-1] in ".?!"


@pytest.mark.parametrize(
    ("body", "word"), [(b"{not json", "JSON"), (b"", "JSON"), (b"[]", "job"), (b'"x"', "job")]
)
def test_a_body_that_is_no_job_is_refused(shared_box, body, word):
    """Broken JSON and wrong shapes are refused in a sentence."""
    answer = shared_box.http.post(
        "/api/v1/jobs", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in {400, 422}
    assert word.lower() in answer.json()["detail"].lower()


def test_one_bad_job_in_a_list_submits_none(shared_box):
    """A list is all or nothing, and the sentence says which one was wrong."""
    before = shared_box.get("/jobs", limit=1)["jobs"]
    answer = shared_box.post("/jobs", [{"command": "true"}, {"command": "true", "gpus": 99}])
    assert answer.status_code == 422
    assert any(field["field"].startswith("1") for field in answer.json()["fields"])
    assert shared_box.get("/jobs", limit=1)["jobs"] == before


def test_the_box_still_works_afterwards(shared_box):
    """After all of the above a good job runs."""
    job_id = shared_box.submit(script="echo fine", gpus=8)
    (job,) = shared_box.wait(job_id)
    assert job["state"] == "succeeded"
    assert shared_box.log(job_id) == "fine\n"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("/nonexistent/program", "/nonexistent/program"),
        (["./not-executable.sh"], "chmod"),
    ],
)
def test_a_start_that_fails_is_reported_in_the_jobs_own_log(shared_box, command, word):
    """A failed start ends as launch_error, with the reason in job and log."""
    script = shared_box.home / "not-executable.sh"
    script.write_text("echo never\n")
    answer = shared_box.post("/jobs", {"command": command, "workdir": str(shared_box.home)})
    if answer.status_code != 201:  # refused at once is better still
        assert word in answer.text
        return
    (job,) = shared_box.wait(answer.json()["id"])
    assert (job["state"], job["outcome"]) == ("failed", "launch_error")
    assert word in job["message"]
    assert word in shared_box.log(job["id"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--config broken.json --ablation_config profile_only", "line 2"),
        ("--config config.json --ablation_config profile_and_histori", "profile_and_history"),
        ("--config missing.json --ablation_config profile_only", "missing.json"),
    ],
)
def test_the_trainers_own_mistakes_are_one_sentence(shared_box, workspace, arguments, word):
    """A config with a syntax error, a missing one and a mistyped ablation name their fix."""
    (workspace / "broken.json").write_text('{"model": {\n  "path" "model"\n}}\n')
    job_id = shared_box.submit(
        command=f"torchrun --nproc-per-node=1 train_deepspeed.py {arguments}",
        workdir=str(workspace),
    )
    (job,) = shared_box.wait(job_id, timeout_s=120)
    assert job["state"] == "failed"
    assert word in shared_box.log(job_id)
    assert word in job["message"]
