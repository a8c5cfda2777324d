"""The helper that jobs import: in a job, outside one, and in bare interpreters."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from berth import jobside

SOURCE = Path(jobside.__file__)


@pytest.fixture
def run_dir(tmp_path, monkeypatch) -> Path:
    """The run directory of a job that this process pretends to be."""
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("BERTH_ATTEMPT", "42.1")
    monkeypatch.setenv("BERTH_GPU_UUIDS", "GPU-a,GPU-b")
    monkeypatch.delenv("RANK", raising=False)
    return tmp_path


@pytest.fixture
def outside(monkeypatch) -> None:
    """No job at all."""
    for name in ("BERTH_RUN_DIR", "BERTH_ATTEMPT", "BERTH_GPU_UUIDS", "RANK"):
        monkeypatch.delenv(name, raising=False)


def points(folder: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Tensor:
    """As torch's: one element has an item, several raise."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def item(self) -> float:
        if len(self.values) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.values[0]


def test_points_are_lines_of_numbers(run_dir):
    """Every call adds one JSON line with step, time and what is a number."""
    assert jobside.log_metrics(1, loss=Tensor(2.5), lr=1e-5, ok=True, note="x", many=Tensor(1, 2))
    assert jobside.log_metrics(2, loss=float("nan"), grad=float("inf"))

    first, second = points(run_dir)
    assert first.pop("time") > 1_700_000_000
    assert first == {"step": 1, "loss": 2.5, "lr": 1e-5, "ok": 1.0}
    assert (second["step"], second["loss"], second["grad"]) == (2, None, None)


def test_only_rank_0_writes(run_dir, monkeypatch):
    """The other ranks call the same line and write nothing."""
    monkeypatch.setenv("RANK", "3")

    assert not jobside.log_metrics(1, loss=2.0)
    assert not (run_dir / "metrics.jsonl").exists()


def test_links_are_written_together(run_dir, monkeypatch):
    """The last under a name; other ranks write none."""
    monkeypatch.setattr(jobside, "_links", {})
    assert jobside.link("board", "http://box:6006/")
    assert jobside.link("notes", "https://host/a")
    assert jobside.link("notes", "https://host/b")
    monkeypatch.setenv("RANK", "1")
    assert not jobside.link("other", "https://host/c")
    said = json.loads((run_dir / "links.json").read_text())
    assert said == {"board": "http://box:6006/", "notes": "https://host/b"}


def test_many_writers_never_mix_lines(run_dir):
    """Lines of processes that write at once stay whole."""
    code = "from berth import jobside\nfor n in range(300): jobside.log_metrics(n, loss=n / 7, x=n)"
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]

    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(points(run_dir)) == 1200


def test_a_full_disk_does_not_end_a_run(run_dir, capsys):
    """A failed write causes a warning, and the run continues."""
    (run_dir / "metrics.jsonl").symlink_to("/dev/full")

    assert not jobside.log_metrics(1, loss=2.0)
    assert "No space left" in capsys.readouterr().err


def test_the_first_failure_stands(run_dir):
    """Later reports of other ranks change nothing, and nothing is left lying about."""
    assert jobside.report_failure("oom_gpu", "Halve the micro-batch.")
    assert not jobside.report_failure("exit", "Connection closed by peer.")

    said = json.loads((run_dir / "failure.json").read_text())
    assert said == {"kind": "oom_gpu", "sentence": "Halve the micro-batch."}
    assert [path.name for path in run_dir.iterdir()] == ["failure.json"]


def test_the_warning_calls_back_and_goes_on(run_dir):
    """SIGUSR1 calls the callback, a failing callback is survived, earlier handlers are kept."""
    heard: list[str] = []
    before = signal.getsignal(signal.SIGUSR1)
    try:
        signal.signal(signal.SIGUSR1, lambda *_: heard.append("earlier"))
        assert jobside.on_warning(lambda: heard.append("mine"))
        assert jobside.on_warning(lambda: 1 / 0)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == ["mine", "earlier"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_job_knows_itself(run_dir):
    """Run directory, attempt and GPUs come from the environment."""
    assert jobside.is_berth()
    assert jobside.run_dir() == run_dir
    assert jobside.attempt() == "42.1"
    assert jobside.gpu_uuids() == ["GPU-a", "GPU-b"]


def test_a_checkpoint_is_reported_whole_and_by_rank_0_alone(run_dir, monkeypatch):
    """One file with step and time, replaced by the next; other ranks write nothing."""
    assert jobside.checkpoint_saved(Tensor(7))
    assert jobside.checkpoint_saved(8)
    word = json.loads((run_dir / "saved.json").read_text())
    assert word["step"] == 8
    assert word["time"] > 1_700_000_000
    monkeypatch.setenv("RANK", "1")
    assert not jobside.checkpoint_saved(9)
    assert [path.name for path in run_dir.iterdir()] == ["saved.json"]


def test_outside_berth_nothing_happens(outside, tmp_path, monkeypatch):
    """Every call is harmless, also when the run directory is long gone."""
    before = signal.getsignal(signal.SIGUSR1)
    for gone in (None, str(tmp_path / "gone")):
        if gone:
            monkeypatch.setenv("BERTH_RUN_DIR", gone)
        assert not jobside.is_berth()
        assert jobside.run_dir() is None
        assert jobside.gpu_uuids() == []
        assert not jobside.log_metrics(1, loss=1.0)
        assert not jobside.on_warning(print)
        assert not jobside.report_failure("x", "y")
    assert not jobside.checkpoint_saved(1)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_it_is_written_for_python_3_8():
    """Its syntax is that of 3.8 and it imports the standard library only."""
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))

    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= set(sys.stdlib_module_names)


INTERPRETERS = sorted(
    {
        found
        for name in ("python3", *(f"python3.{minor}" for minor in range(8, 15)))
        if (found := shutil.which(name, path="/usr/bin:/usr/local/bin"))
    }
)


@pytest.mark.parametrize("python", INTERPRETERS)
def test_a_copy_works_in_any_interpreter(python, run_dir, tmp_path):
    """The file alone, copied next to a script, works without Berth being installed."""
    shutil.copy(SOURCE, tmp_path / "berth_jobside.py")
    code = "import berth_jobside as j; print(j.log_metrics(7, loss=0.5), j.is_berth())"

    done = subprocess.run(
        [python, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)
    assert points(tmp_path)[0]["loss"] == 0.5


def test_progress_is_one_small_file_that_is_whole_at_any_time(run_dir, monkeypatch):
    """The latest place, and where this process began: what a restarted server needs."""
    monkeypatch.setattr(jobside, "_progress", {})
    assert jobside.progress(Tensor(40.0), 100)
    assert not jobside.progress(41, 100)  # at most two a second
    assert jobside.progress(100, 100)  # but the last one always

    facts = json.loads((run_dir / "progress.json").read_text())
    assert (facts["step"], facts["total"], facts["first_step"]) == (100, 100, 40.0)
    assert facts["first_time"] <= facts["time"]
    assert facts["phase"] is None
    assert [path.name for path in run_dir.iterdir()] == ["progress.json"]


def test_a_phase_leaves_the_run_where_it_was(run_dir, monkeypatch):
    """An evaluation loop of 12 batches is not the run, whatever it counts to."""
    monkeypatch.setattr(jobside, "_progress", {})
    monkeypatch.setattr(jobside, "_PROGRESS_EVERY_S", 0.0)
    assert jobside.progress(50, 160)
    assert jobside.progress(12, 12, "evaluation")

    facts = json.loads((run_dir / "progress.json").read_text())
    assert (facts["step"], facts["total"]) == (50, 160)
    assert (facts["phase"]["name"], facts["phase"]["step"]) == ("evaluation", 12)


def test_progress_without_a_place_is_not_written(run_dir, monkeypatch):
    """No number, nothing to do, another rank: nothing is told and nothing raises."""
    monkeypatch.setattr(jobside, "_progress", {})
    assert not jobside.progress(float("nan"), 100)
    assert not jobside.progress(1, 0)
    assert not jobside.progress("x", None)
    monkeypatch.setenv("RANK", "3")
    assert not jobside.progress(1, 100)
    assert list(run_dir.iterdir()) == []
