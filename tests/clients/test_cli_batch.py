"""`berth submit job.sbatch`, arrays and pasted texts: from what people have to the specs sent."""

from __future__ import annotations

import pytest

JOBS = "/api/v1/jobs"
HEADER = "#!/bin/bash\n#SBATCH -J train -G 2 -t 60 --export=A=1\necho hi\n"


@pytest.fixture
def sent(fake, wire, berth, monkeypatch, tmp_path):
    """Submit in an empty folder, and return the body that was sent."""
    monkeypatch.chdir(tmp_path)
    fake.answer("POST", JOBS, (201, wire.job()))

    def submit(*words: str, stdin: str | None = None):
        result = berth("submit", *words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return fake.bodies(JOBS)[-1]

    return submit


@pytest.mark.parametrize("words", [["job.sbatch"], ["--script", "job.sbatch"]])
def test_a_script_that_exists_is_submitted_with_its_header(sent, tmp_path, words):
    """As with sbatch; --script is the same."""
    (tmp_path / "job.sbatch").write_text(HEADER)

    spec = sent(*words)

    assert spec == {
        "script": HEADER, "name": "train", "gpus": 2, "time_limit": "3600s", "env": {"A": "1"},
        "workdir": str(tmp_path), "script_file": str(tmp_path / "job.sbatch"),
    }  # fmt: skip


def test_options_win_over_the_header(sent, tmp_path):
    """What is typed now counts."""
    (tmp_path / "job.sbatch").write_text(HEADER)

    spec = sent("--gpus", "4", "--name", "mine", "-e", "B=2", "job.sbatch")

    assert (spec["gpus"], spec["name"], spec["env"]) == (4, "mine", {"A": "1", "B": "2"})


def test_chdir_is_relative_to_the_folder_of_the_submit(sent, tmp_path):
    """-C wins over it."""
    (tmp_path / "a.sh").write_text("#!/bin/bash\n#SBATCH -D sub\ntrue\n")

    assert sent("a.sh")["workdir"] == str(tmp_path / "sub")
    assert sent("-C", "/elsewhere", "a.sh")["workdir"] == "/elsewhere"


def test_arguments_of_a_script_are_its_own(sent, tmp_path):
    """Slurm passes them on; options behind the file are the script's."""
    (tmp_path / "a.sh").write_text("#!/bin/bash\n\n# sets\necho $1\n")

    assert sent("a.sh", "--seed", "a b")["script"] == (
        "#!/bin/bash\n\n# sets\nset -- --seed 'a b'; echo $1\n"
    )


def test_programs_stay_programs(sent, tmp_path):
    """An executable without a header is started as such; so is what is no script."""
    (tmp_path / "run.sh").write_text("#!/bin/bash\ntrue\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "train.py").write_text("print(1)\n")

    assert sent("./run.sh")["command"] == "./run.sh"
    assert sent("python", "train.py")["command"] == ["python", "train.py"]
    assert sent("train.sh")["command"] == "train.sh"


def test_an_array_is_a_job_for_each_task(fake, berth, monkeypatch, tmp_path):
    """In one transaction, with Slurm's variables beside Berth's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.sh").write_text("#SBATCH --array=3,5 -J grid\ntrue\n")
    fake.answer("POST", JOBS, (201, {"ids": [1, 2], "warnings": []}))

    assert berth("submit", "a.sh").exit_code == 0

    first, second = fake.bodies(JOBS)[-1]
    assert (first["name"], second["name"]) == ("grid_3", "grid_5")
    assert second["labels"] == {"task": "5"}
    assert second["env"]["SLURM_ARRAY_TASK_ID"] == second["env"]["BERTH_ARRAY_TASK_ID"] == "5"


def test_an_array_with_a_cap_is_an_ablation(fake, berth, monkeypatch, tmp_path):
    """Its cap holds among its tasks alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.sh").write_text("#SBATCH --array=0-9%2 -J grid\ntrue\n")
    made = {"id": "grid-1", "ids": list(range(1, 11)), "skipped": 0, "warnings": []}
    fake.answer("POST", "/api/v1/ablations", (201, made))

    assert berth("submit", "a.sh").exit_code == 0

    plan = fake.bodies("/api/v1/ablations")[-1]
    assert (plan["max_running"], len(plan["cells"])) == (2, 10)
    assert plan["cells"][3]["values"] == {"task": "3"}


def test_a_header_that_cannot_be_kept_is_refused(berth, monkeypatch, tmp_path):
    """Before anything is sent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.sh").write_text("#SBATCH --nodes=2\ntrue\n")

    result = berth("submit", "a.sh")

    assert result.exit_code == 2
    assert "runs a script on one" in result.output


PARSED = {
    "jobs": [
        {"line": 1, "command": "python a.py", "launcher": "python", "before": "python a.py"},
        {
            "line": 2,
            "script": "#!/bin/sh\ntrue\n",
            "launcher": "shell",
            "gpus": 2,
            "before": "true",
        },
        {"line": 3, "command": "x", "launcher": "other", "before": "x", "problem": "No."},
    ]
}


def test_a_pasted_text_is_listed_and_nothing_submitted(fake, berth):
    """Never several jobs without a word that asks for them."""
    fake.answer("POST", f"{JOBS}/parse", (200, PARSED))

    result = berth("submit", "--paste", stdin="some text")

    assert result.exit_code == 2
    assert "2. line 2: shell, 2 GPUs" in result.output
    assert "Nothing was submitted" in result.output
    assert fake.bodies(JOBS) == []


def test_picked_launches_are_submitted(fake, wire, berth, monkeypatch, tmp_path):
    """With the options of the command line, each as a job; one with a problem is not."""
    monkeypatch.chdir(tmp_path)
    fake.answer("POST", f"{JOBS}/parse", (200, PARSED))
    fake.answer("POST", JOBS, (201, {"ids": [1, 2], "warnings": []}))

    assert berth("submit", "--paste", "--pick", "1,2", "-p", "3", stdin="t").exit_code == 0
    assert [(s.get("command"), s["priority"]) for s in fake.bodies(JOBS)[-1]] == [
        ("python a.py", 3), (None, 3),
    ]  # fmt: skip
    refused = berth("submit", "--paste", "--pick", "all", stdin="t")
    assert refused.exit_code == 2
    assert "Launch 3 cannot be submitted: No." in refused.output


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (["afterany:3"], ["afterany:3"]),
        (["afterany:3:4,5"], ["afterany:3", "afterany:4", 5]),
        (["afterok:3", "afternotok:4"], [3, "afternotok:4"]),
    ],
)
def test_dependencies_as_slurms_users_write_them(sent, words, stored):
    """Ids alone stay ids."""
    options = [part for word in words for part in ("--depends-on", word)]

    assert sent(*options, "true")["depends_on"] == stored
