"""The script that measures the trainer on a GPU: it runs, on a tiny shape, without one."""

import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "trainer" / "measure.py"


def measure(*words):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BERTH_", "RANK", "WORLD_"))}
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, words)],
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_script_measures_every_kind_of_row(workspace, tmp_path):
    """Samples are encoded once; a row of each part trains and stands in table and JSON."""
    samples = tmp_path / "samples.npz"
    data = workspace / "data" / "realpersonachat"
    done = measure(
        "prepare", "--data", data, "--samples", samples, "--count", 60, "--max-length", 256
    )
    assert done.returncode == 0, done.stderr
    kinds = (
        ("speed", "not compiled"),
        ("plan", "all offloaded"),
        ("27b", "cut"),
        ("ranks", "stage 3, 4,096 tokens, checkpointing, optimizer"),
    )
    for only, match in kinds:
        done = measure(
            "run", "--smoke", "--samples", samples, "--max-length", 256,
            "--out", tmp_path, "--only", only, "--match", match,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / "results.json").read_text())
        assert results
        for result in results:
            assert result["failure"] == ""
            assert result["tokens_per_s"] > 0
            assert all(loss > 0 for loss in result["losses"])
            assert len(result["ranks_allocated"]) == (2 if only == "ranks" else 0)
            assert f"| {result['row']['part']} | tiny |" in done.stdout


def test_no_row_begins_that_would_not_end_in_time(workspace, tmp_path):
    """Omitted rows are in the table, so that they do not pass for measured ones."""
    samples = tmp_path / "samples.npz"
    data = workspace / "data" / "realpersonachat"
    measure("prepare", "--data", data, "--samples", samples, "--count", 20, "--max-length", 256)
    done = measure("run", "--smoke", "--samples", samples, "--out", tmp_path, "--budget-s", -1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not begun") > 20


def test_all_of_several_gpus_takes_less_than_nine_minutes():
    """The limits of its parts, samples and versions besides; the shell reads it."""
    script = SCRIPT.with_name("cards.sh")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    limits = [int(found) for found in re.findall(r"limited (\d+) ", script.read_text())]
    assert len(limits) == 5
    assert sum(limits) <= 530


def test_rows_of_several_gpus_double(parts, monkeypatch):
    """From one to all, those first that the others are compared with; whole where it fits."""
    several = importlib.import_module("several")
    sys.modules.pop("several")
    auto = [row.ranks for row in several.scaling("4b", 8) if row.name.startswith("auto")]
    assert auto == [8, 1, 2, 4]
    whole, cut = several.large("27b", 62, 62, 8), several.large("27b", 30, 62, 4)
    assert {row.layers for row in whole} == {None}
    assert [row.layers for row in cut[:3]] == [30, 30, None]


@pytest.fixture
def parts(monkeypatch):
    """The script's modules `processes`, `results` and `rows`, gone again afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    names = ("rows", "results", "processes")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        sys.modules.pop(name, None)


def test_ranks_make_one_result(parts):
    """Their tokens over rank 0's time, the fullest GPU, the host's memory together."""
    row = parts.rows.Row("ranks", "any", "tiny", {}, ranks=2)
    first = parts.results.Result(row, parameters=10, allocated=3.0, host=1.5, phases={"loss": 3.0})
    second = replace(first, allocated=4.0, reserved=5.0, phases={"loss": 4.0, "update": 2.0})
    first.time(100, 2.0)
    second.time(300, 3.0)
    whole = parts.results.merged({1: second, 0: first})
    assert (whole.tokens_per_s, whole.allocated, whole.reserved, whole.host) == (200, 4.0, 5.0, 3.0)
    assert whole.phases == {"loss": 4.0, "update": 2.0}
    assert whole.ranks_allocated == [3.0, 4.0]
    failed = replace(second, failure="OutOfMemoryError: much")
    assert parts.results.merged({1: failed, 0: None}).failure == "rank 1: OutOfMemoryError: much"
    alike = {rank: replace(first, failure="not run: too large") for rank in (0, 1)}
    assert parts.results.merged(alike).failure == "not run: too large"


def test_a_rank_that_dies_is_named_and_the_others_do_not_wait_for_it(parts, monkeypatch):
    """The row fails at once with who died and how, long before its time is up; no one stays."""
    monkeypatch.setattr(parts.processes, "LAST_WORDS_S", 0.1)
    monkeypatch.setattr(parts.processes, "LEAVING_S", 0.1)
    context = multiprocessing.get_context("spawn")
    waiting = context.Process(target=time.sleep, args=(600,), daemon=True)
    dying = context.Process(target=os._exit, args=(9,), daemon=True)
    ends, theirs = zip(*(context.Pipe() for _ in range(2)), strict=True)
    for process in (waiting, dying):
        process.start()
    dying.join()
    theirs[1].close()  # as its death closes it

    team = parts.processes.Team([waiting, dying], list(ends))
    result = team.run(parts.rows.Row("ranks", "any", "tiny", {}, ranks=2), 500.0)
    team.leave()
    assert result.failure == "rank 1: the process died (exit code 9)"
    assert not waiting.is_alive()


def test_more_ranks_than_gpus_are_refused_in_a_sentence(tmp_path):
    """Before anything is imported or started."""
    done = measure("run", "--only", "ranks", "--ranks", 1000, "--samples", tmp_path / "none.npz")
    assert done.returncode == 2
    assert "--ranks 1000 is more than the GPUs here" in done.stderr
