"""Ablations and frozen code on a box of real processes, through REST alone."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

# Writes a metric per line of values until it is let go on, then ends with a code.
RUN = """
import json, os, pathlib, sys, time
value, flag = float(sys.argv[1]), pathlib.Path(sys.argv[2])
with open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "a") as file:
    for step in (1, 2, 3):
        print(json.dumps({"step": step, "loss": value}), file=file, flush=True)
while not flag.exists():
    time.sleep(0.02)
sys.exit(int(flag.read_text() or 0))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A run of the ablation: `run.py VALUE FLAG`."""
    path = tmp_path / "run.py"
    path.write_text(RUN)
    return path


def ablate(box, script: Path, values: list[float], **more) -> list[int]:
    """One cell per value; cell i waits for the file `go-i` next to the script."""
    cells = []
    for i, value in enumerate(values):
        command = shlex.join(
            [sys.executable, str(script), str(value), str(script.parent / f"go-{i}")]
        )
        job = {"command": command, "workdir": str(script.parent), "gpus": 1, "grace": "2s"}
        cells.append({"values": {"value": str(value), "cell": str(i)}, "job": job})
    answer = box.post("/ablations", {"name": "study", "cells": cells, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["ids"]


def test_one_at_a_time_then_the_failed_one_again(box, script):
    """max_running 1 holds on a free box; rerun queues the failed cell alone."""
    ids = ablate(box, script, [1.0, 2.0, 3.0], max_running=1)
    flags = [script.parent / f"go-{i}" for i in range(3)]
    for place, code in enumerate((0, 7, 0)):
        box.wait(ids[place], state={"running"})
        states = [box.job(job_id)["state"] for job_id in ids]
        assert states.count("running") == 1
        assert states[place + 1 :] == ["queued"] * (2 - place)
        if place < 2:
            shown = box.get(f"/jobs/{ids[2]}/explain")
            assert "may have 1 (max_running)" in " ".join(r["sentence"] for r in shown["reasons"])
        flags[place].write_text(str(code))
        box.wait(ids[place])
    assert [box.job(job_id)["state"] for job_id in ids] == ["succeeded", "failed", "succeeded"]
    flags[1].write_text("0")
    assert box.post("/ablations/study/rerun").json()["ids"] == [ids[1]]
    (again,) = box.wait(ids[1])
    assert (again["state"], len(again["attempts"])) == ("succeeded", 2)


def test_a_bad_cell_is_stopped_early(box, script):
    """By the median rule, from what the runs write; the others go on."""
    rule = {"rule": "median", "metric": "loss", "after_step": 2}
    ids = ablate(box, script, [1.0, 1.0, 1.0, 9.0], early_stop=rule)
    (bad,) = box.wait(ids[3])
    assert (bad["state"], bad["outcome"]) == ("cancelled", "early_stopped")
    assert "its best loss by step 3 is 9, worse than 1, " in bad["message"]
    assert [box.job(job_id)["state"] for job_id in ids[:3]] == ["running"] * 3
    for i in range(3):
        (script.parent / f"go-{i}").write_text("0")
    assert [job["state"] for job in box.wait(*ids[:3])] == ["succeeded"] * 3


def test_a_snapshot_is_untouched_by_later_edits(box, tmp_path):
    """Nor by a deletion; ignored data is found, a second attempt finds what the first wrote."""
    root = tmp_path / "twin"
    (root / "src").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "data" / "words.txt").write_text("of the data\n")
    (root / ".gitignore").write_text("data/\n")
    (root / "src" / "helper.py").write_text("WORD = 'first'\n")
    (root / "src" / "go.py").write_text(
        "import helper, os\n"
        "print(helper.WORD, open('../data/words.txt').read())\n"
        "print(os.path.exists('left.txt'))\n"
        "open('left.txt', 'w').close()\n"
    )
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    spec = {"command": [sys.executable, "go.py"], "workdir": str(root / "src"), "snapshot": True}
    job_id = box.submit(**spec, hold=True)
    (root / "src" / "helper.py").write_text("WORD = 'edited'\n")
    (root / "src" / "go.py").unlink()
    box.post(f"/jobs/{job_id}/release")
    (job,) = box.wait(job_id)
    assert job["state"] == "succeeded", box.log(job_id)
    assert box.log(job_id) == "first of the data\n\nFalse\n"
    run_dir = Path(job["attempts"][0]["run_dir"])
    assert "WORD = 'first'" in (run_dir / "changes.diff").read_text()
    assert (run_dir / "snapshot.json").exists()
    assert not (root / "src" / "left.txt").exists()
    box.post(f"/jobs/{job_id}/retry")
    box.wait(job_id)
    assert box.log(job_id) == "first of the data\n\nTrue\n"
