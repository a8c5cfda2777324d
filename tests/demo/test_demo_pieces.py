"""The demo's pure pieces; the whole of it runs in `make demo`."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from berth import Client
from berth.demo.__main__ import COMMANDS
from berth.demo.report import report
from berth.demo.stage import Stage, StageError
from berth.demo.watch import sparkline
from berth.protocol.attempts import Attempt, Change, LaunchFacts
from berth.protocol.jobs import Job
from berth.protocol.metrics import Metrics
from berth.protocol.states import AttemptState, FenceKind, JobState, Launcher

BEGAN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(1, 40))
def test_a_sparkline_is_as_wide_as_asked_and_tops_out_at_the_highest(values, width):
    """At most `width` bars; the highest value shown has the tallest one when values differ."""
    line = sparkline(values, width)
    shown = values[-width:]
    assert len(line) == len(shown)
    if max(shown) - min(shown) > 1e-3:
        assert line[shown.index(max(shown))] == "█"
        assert line[shown.index(min(shown))] == "▁"


def ended_job(job_id: int, launcher: Launcher, gpus: list[int]) -> Job:
    uuids = [f"GPU-{index}" for index in gpus]
    launch = LaunchFacts(
        launcher=launcher,
        before="before",
        after="after",
        changes=(Change(what="--num_gpus=4", became="", why="It ignores the lease."),),
        cuda_visible_devices="0,1",
        fence=FenceKind.ADVISORY,
    )
    attempt = Attempt(
        id=f"{job_id}.1",
        number=1,
        state=AttemptState.ENDED,
        gpu_indices=gpus,
        gpu_uuids=uuids,
        master_port=29600 + job_id,
        run_dir=f"/runs/{job_id}/1",
        launch=launch,
    )
    return Job(
        id=job_id,
        name="x",
        state=JobState.SUCCEEDED,
        user="ada",
        command=COMMANDS[0],
        gpus=len(gpus),
        gpu_indices=gpus,
        gpu_uuids=uuids,
        workdir="/",
        priority=0,
        grace=timedelta(seconds=60),
        warn_before=timedelta(seconds=60),
        retries=0,
        attempts=[attempt],
        queued_at=BEGAN,
        started_at=BEGAN,
        ended_at=BEGAN + timedelta(seconds=40 + job_id),
    )


def test_the_report_compares_and_says_what_was_made_safe(tmp_path):
    """Losses, GPUs, ports, the time both ran, every change and every place are shown."""
    points = [{"step": 1.0, "loss": 5.0}, {"step": 2.0, "loss": 3.25, "perplexity": 20.0}]

    def answer(request: httpx2.Request) -> httpx2.Response:
        job_id = int(request.url.path.split("/")[4])
        metrics = Metrics(
            job_id=job_id,
            source="metrics.jsonl",
            names=["loss"],
            points=points,
            total=2,
        )
        return httpx2.Response(200, content=metrics.model_dump_json())

    out = io.StringIO()
    console = Console(file=out, width=120)
    jobs = [ended_job(1, Launcher.DEEPSPEED, [0, 1]), ended_job(2, Launcher.ACCELERATE, [2, 3])]
    with Client("http://berth.test", transport=httpx2.MockTransport(answer)) as client:
        report(client, jobs, Stage(tmp_path, console), console)
    text = out.getvalue()
    for expected in ("5.000", "3.250", "20.0", "29601", "29602", "41s", "/runs/1/1", "--num_gpus"):
        assert expected in text


def test_a_failing_step_ends_in_one_sentence(tmp_path, monkeypatch):
    """The last words of a helper program are kept; the demo raises its own error, no traceback."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    stage = Stage(tmp_path, Console(file=io.StringIO()))
    with pytest.raises(StageError, match="failed with 1"):
        stage.set_up("sim:8")


def test_a_deep_folder_gets_a_home_with_a_short_name():
    """A unix socket's path has room for 107 bytes; a deeper clone still works."""
    deep = Path("/x" * 80)
    home = Stage(deep, Console(file=io.StringIO())).home
    assert len(str(home / "run" / "berth.sock")) <= 107
