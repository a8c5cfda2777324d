"""`berth ablate`: the file, the verbs, their output."""

from __future__ import annotations

from pathlib import Path

import pytest

import berth as sdk
from berth.protocol.ablations import EarlyStop

URL = "/api/v1/ablations"
STUDY = """
base: {command: 'python t.py --lr {lr}', gpus: 2, time_limit: 3h}
matrix: {lr: [1e-4, 5e-5]}
max_running: 1
"""
CAPS = {
    "user": "ada",
    "created_at": "2026-11-24T10:00:00Z",
    "max_running": 2,
    "max_gpu_hours": 40.0,
    "used_gpu_hours": 3.5,
    "early_stop": {"rule": "median", "metric": "eval_loss", "after_step": 100},
}


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY)


@pytest.mark.parametrize(
    "words", [("study.yaml",), ("submit", "study.yaml"), ("--name", "study", "study.yaml")]
)
def test_every_run_goes_in_one_request(fake, berth, tmp_path, words):
    """Values stay as they are written; folder and caps go along; `submit` may be left out."""
    fake.answer("POST", URL, (201, {"id": "study", "ids": [4, 5]}))

    result = berth("ablate", *words)

    assert result.exit_code == 0, result.output
    assert "2 runs of study: jobs 4,5." in result.stdout
    assert "berth ablate show study" in result.stdout
    (sent,) = fake.bodies(URL)
    first, second = sent["cells"]
    assert (sent["name"], sent["max_running"]) == ("study", 1)
    assert first["job"]["command"] == "python t.py --lr 1e-4"
    assert second["values"] == {"lr": "5e-5"}
    assert first["job"]["workdir"] == str(tmp_path)


def test_adding_says_what_was_there(fake, berth):
    """--add goes along."""
    fake.answer("POST", URL, (201, {"id": "study", "ids": [5], "skipped": 1}))

    assert (
        "1 run of study: jobs 5; 1 already existed."
        in berth("ablate", "study.yaml", "--add").stdout
    )
    assert fake.bodies(URL)[0]["add"] is True


def test_a_dry_run_submits_nothing(fake, berth):
    """--dry-run shows the commands and the GPU-hours asked for."""
    result = berth("ablate", "--dry-run", "study.yaml", "--name", "x")

    assert "x-1e-4: python t.py --lr 1e-4" in result.stdout
    assert "2 runs of x, at most 12 GPU-hours by their time limits." in result.stdout
    assert not fake.requests


def test_a_dry_run_reads_the_command_where_no_gpus_are_given(berth):
    """And says how many runs have no time limit."""
    Path("study.yaml").write_text(
        "base: {command: 'deepspeed --num_gpus=4 t.py --seed {seed}'}\nseeds: 2\n"
    )
    assert "their GPU-hours are unknown" in berth("ablate", "study.yaml", "--dry-run").stdout
    Path("study.yaml").write_text(
        "base: {command: 'deepspeed --num_gpus=4 t.py --seed {seed}', time_limit: 1h}\nseeds: 2\n"
    )
    assert "at most 8 GPU-hours" in berth("ablate", "study.yaml", "--dry-run").stdout
    Path("study.yaml").write_text(
        "base: {command: 'python t.py --seed {seed}', gpus: 1, share: true, gpu_memory: 20GiB, "
        "time_limit: 1h}\nseeds: 2\n"
    )
    explained = berth("ablate", "study.yaml", "--dry-run").stdout
    assert "at most 2 GPU-hours by their time limits; less for shares" in explained


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("max_runing: 1", "'max_runing' is unknown; did you mean 'max_running'?"),
        ("early_stop: {rule: median, metrc: x}", "'metrc'; did you mean 'metric'?"),
        ("early_stop: {rule: best, metric: x}", "early_stop.rule"),
        ("max_gpu_hours: 0", "max_gpu_hours"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(fake, berth, line, sentence):
    """With the file's name, before anything is sent."""
    Path("study.yaml").write_text(STUDY.replace("max_running: 1", line))

    result = berth("ablate", "study.yaml", "--dry-run")

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.startswith("berth: study.yaml: ")
    assert result.stderr.count("\n") == 1
    assert not fake.requests


def test_show_puts_runs_side_by_side_below_the_caps(fake, wire, berth):
    """The same table as `berth compare`."""
    runs = [
        {"job": wire.job(4, labels={"lr": "1e-4"}), "last": {"loss": 2.5}, "best": {"loss": 2.5}}
    ]
    facts = {
        "id": "study",
        "varies": ["lr"],
        "metrics": ["loss"],
        "runs": runs,
        "caps": CAPS,
        "total": len(runs),
    }
    fake.answer("GET", f"{URL}/study", facts)

    shown = berth("ablate", "show", "study").stdout

    assert "at most 2 at once; 3.5 of 40 GPU-hours used" in shown
    assert "eval_loss is worse than the median from step 100 on" in shown
    assert shown == berth("compare", "study").stdout


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "median", "metric": "loss"},
        {"rule": "margin", "metric": "loss", "margin": 0.2},
        {"rule": "target", "metric": "loss", "target": 1.8},
    ],
    ids=lambda rule: rule["rule"],
)
def test_an_early_stop_is_read_back_as_the_server_writes_it(rule):
    """Answers carry every field, also those that belong to another rule, as if not given."""
    given = EarlyStop.model_validate(rule)

    assert EarlyStop.model_validate_json(given.model_dump_json()) == given
    with pytest.raises(ValueError, match="belongs to the rule"):
        EarlyStop.model_validate({**rule, "least_runs": 9, "target": 1, "margin": 1})


def test_ls_shows_them_all(fake, berth):
    """With their caps."""
    one = {"id": "study", "jobs": 4, "unfinished": 1, "users": ["ada"], "newest_job_id": 7}
    fake.answer("GET", URL, {"ablations": [{**one, "caps": CAPS}, {**one, "id": "loose"}]})

    lines = berth("ablate", "ls").stdout.splitlines()

    assert "at most 2 at once" in lines[1]
    assert lines[2].split()[0] == "loose"


@pytest.mark.parametrize(
    ("words", "which"), [((), "failed"), (("--cancelled",), "cancelled"), (("--all",), "all")]
)
def test_rerun_queues_cells_again(fake, berth, words, which):
    """Those that failed, unless more is asked for."""
    fake.answer("POST", f"{URL}/study/rerun", {"ids": [4, 6]})

    assert (
        "2 runs of study queued again: jobs 4,6."
        in berth("ablate", "rerun", "study", *words).stdout
    )
    assert fake.bodies(f"{URL}/study/rerun") == [{"which": which}]


def test_set_changes_and_lifts_caps(fake, berth):
    """`none` lifts; nothing to change is said."""
    facts = {"id": "study", "varies": [], "metrics": [], "runs": [], "caps": CAPS, "total": 0}
    fake.answer("PATCH", f"{URL}/study", facts)

    done = berth("ablate", "set", "study", "--max-running", "none", "--max-gpu-hours", "40")

    assert "3.5 of 40 GPU-hours used" in done.stdout
    assert fake.bodies(f"{URL}/study") == [{"max_running": None, "max_gpu_hours": 40.0}]
    assert "Name what to change" in berth("ablate", "set", "study").stderr
    assert "takes a number or `none`" in berth("ablate", "set", "x", "--max-running", "few").stderr


def test_the_sdk_takes_a_plan_or_cells(fake):
    """A plan is expanded before it is sent; one that makes no sense sends nothing."""
    fake.answer("POST", URL, (201, {"id": "s", "ids": [1, 2]}))
    plan = {"name": "s", "base": {"command": "t --seed {seed}"}, "seeds": 2}
    with sdk.Client("http://berth") as client:
        assert client.ablate(plan).ids == [1, 2]
        with pytest.raises(sdk.MatrixError):
            client.ablate({**plan, "seed": 2})
        cell = {"values": {"a": "1"}, "job": {"command": "true"}}
        client.ablate({"name": "s", "cells": [cell]}, add=True)
    first, second = fake.bodies(URL)
    assert [cell["values"] for cell in first["cells"]] == [{"seed": "0"}, {"seed": "1"}]
    assert (second["cells"], second["add"]) == ([cell], True)
