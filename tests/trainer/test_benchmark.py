"""The script that measures the trainer on a GPU: it runs, on a tiny shape, without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
    for only, match in (("speed", "not compiled"), ("plan", "all offloaded"), ("27b", "cut")):
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
            assert f"| {result['row']['part']} | tiny |" in done.stdout


def test_no_row_begins_that_would_not_end_in_time(workspace, tmp_path):
    """What is left out stands in the table, so that nobody takes it for measured."""
    samples = tmp_path / "samples.npz"
    data = workspace / "data" / "realpersonachat"
    measure("prepare", "--data", data, "--samples", samples, "--count", 20, "--max-length", 256)
    done = measure("run", "--smoke", "--samples", samples, "--out", tmp_path, "--budget-s", -1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not begun") > 20
