"""Progress of running attempts: what is read from their files, and where it is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from berth_server.service.progress.links import on_signs
from berth_server.service.progress.looking import ProgressLooks
from berth_server.service.scheduling.snapshot import snapshot
from berth_server.store import attempts


@pytest.fixture
def looking(desk):
    """Look at the files of all running attempts, as the server does every few seconds."""
    looks = ProgressLooks()

    def look() -> None:
        now = desk.clock.now
        desk.server.progress.put(looks.look(looks.due(desk.server, now), now))

    return look


def started(desk: Any, **more: Any) -> tuple[int, Path]:
    job_id = desk.submit(**{"gpus": 1, **more})
    desk.worker.running(f"{job_id}.1")
    folder = Path(attempts.last(desk.server.db.read, job_id).run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return job_id, folder


def writes(desk: Any, path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
    os.utime(path, (desk.clock.now, desk.clock.now))


def bar(step: int, total: int = 100) -> str:
    seconds = f"[{step // 60:02}:{step % 60:02}<?, 1.00it/s]"
    return f"\r{100 * step // total:3}%|###   | {step}/{total} {seconds}"


def drive(desk: Any, looking: Any, path: Path, steps: range) -> None:
    """One step a second, looked at every two."""
    for step in steps:
        writes(desk, path, bar(step))
        if step % 2 == 0:
            looking()
        desk.clock.now += 1.0


def shown(api: Any, job_id: int) -> Any:
    return api.get(f"/api/v1/jobs/{job_id}").json()["progress"]


def test_a_bar_in_the_log_is_the_progress_of_its_job(api, desk, looking):
    """Step, total, fraction, source and the time left, on the job and on the GPU it holds."""
    job_id, folder = started(desk)
    assert shown(api, job_id) is None
    drive(desk, looking, folder / "output.log", range(41))
    found = shown(api, job_id)
    assert (found["step"], found["total"], found["source"]) == (40, 100, "log")
    assert found["fraction"] == pytest.approx(0.4)
    assert found["seconds_left"] == pytest.approx(60, abs=4)
    assert found["seconds_left"] <= found["seconds_left_p90"] < 90
    (gpu,) = [gpu for gpu in api.get("/api/v1/gpus").json()["gpus"] if gpu["holder"]["job_id"]]
    assert gpu["holder"]["progress"] == found
    (listed,) = api.get("/api/v1/jobs").json()["jobs"]
    assert listed["progress"] == found


def test_the_scheduler_is_told_what_is_left(api, desk, looking):
    """A running attempt's own progress is in the snapshot that plans are made of."""
    job_id, folder = started(desk)
    drive(desk, looking, folder / "output.log", range(41))
    (run,) = snapshot(desk.server, desk.clock.now).running
    assert run.job_id == job_id
    assert run.remaining.source == "log"
    assert run.remaining.p50_s == pytest.approx(60, abs=4)


def test_once_steps_stop_coming_only_the_place_is_told(api, desk, looking):
    """A silent run may be stuck: how long it takes is left to history."""
    job_id, folder = started(desk)
    drive(desk, looking, folder / "output.log", range(41))
    desk.clock.now += 600
    desk.worker.tell(snapshot=True)
    looking()
    found = shown(api, job_id)
    assert (found["step"], found["seconds_left"], found["seconds_left_p90"]) == (40, None, None)
    (run,) = snapshot(desk.server, desk.clock.now).running
    assert run.remaining is None


def test_what_a_script_reports_counts_before_its_metrics_and_those_before_its_log(
    api, desk, looking
):
    """`berth.jobside.progress`, then `metrics.jsonl`, then the log."""
    job_id, folder = started(desk)
    path = folder / "output.log"
    for step in range(12):
        writes(desk, path, bar(step))
        looking()
        desk.clock.now += 2
    assert shown(api, job_id)["source"] == "log"
    own = folder / "files"
    own.mkdir()
    for name in ("metrics.jsonl", "progress.json"):
        (folder / name).symlink_to(f"files/{name}")  # as the worker makes the folder
    for step in range(10, 20):
        point = {"step": step, "max_steps": 50, "time": desk.clock.now, "loss": 1.0}
        writes(desk, own / "metrics.jsonl", json.dumps(point) + "\n")
        looking()
        desk.clock.now += 3
    found = shown(api, job_id)
    assert (found["source"], found["step"], found["total"]) == ("metrics.jsonl", 19, 50)
    assert found["seconds_left"] == pytest.approx(93, rel=0.1)
    for step in range(5):
        facts = {"step": step, "total": 9, "time": desk.clock.now}
        (own / "progress.json").unlink(missing_ok=True)
        writes(desk, own / "progress.json", json.dumps(facts))
        looking()
        desk.clock.now += 10
    found = shown(api, job_id)
    assert (found["source"], found["step"], found["total"]) == ("jobside", 4, 9)
    assert found["seconds_left"] == pytest.approx(50, rel=0.25)


def test_a_server_that_starts_anew_reads_the_place_again(api, desk, looking):
    """Bars carry a clock of their own: the pace of what was written before is known as well."""
    job_id, folder = started(desk)
    drive(desk, looking, folder / "output.log", range(41))
    before = shown(api, job_id)
    fresh = ProgressLooks()
    desk.server.progress.keep(())
    desk.server.progress.put(
        fresh.look(fresh.due(desk.server, desk.clock.now), desk.clock.now),
    )
    after = shown(api, job_id)
    assert after["step"] == before["step"]
    assert after["seconds_left"] == pytest.approx(before["seconds_left"], rel=0.2)


def test_a_job_that_does_not_run_has_no_progress(api, desk, looking):
    """It is of the running attempt alone."""
    job_id, folder = started(desk)
    drive(desk, looking, folder / "output.log", range(41))
    desk.worker.ended(f"{job_id}.1", 0)
    looking()
    assert shown(api, job_id) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'{"step": NaN, "total": 5}', b'{"step": 1, "total": 1e999}', b"[" * 4000],
)
def test_nonsense_in_the_place_of_a_report_is_no_progress(api, desk, looking, content):
    """Whatever a job writes, the others are looked at."""
    job_id, folder = started(desk)
    (folder / "progress.json").write_bytes(content)
    (folder / "metrics.jsonl").write_bytes(content + b"\n")
    other_id, other = started(desk)
    drive(desk, looking, other / "output.log", range(41))
    assert shown(api, job_id) is None
    assert shown(api, other_id)["step"] == 40


def test_links_and_pipes_in_the_place_of_files_are_not_read(api, desk, looking):
    """A job may put anything into its folder; the server neither follows nor waits."""
    job_id, folder = started(desk)
    os.mkfifo(folder / "progress.json")
    (folder / "metrics.jsonl").symlink_to("/etc/passwd")
    (folder / "output.log").symlink_to("/etc/passwd")
    looking()
    assert shown(api, job_id) is None


@pytest.fixture
def linking(desk):
    """Look for links, as the server does every few seconds; with new eyes after a restart."""

    def look(looks: ProgressLooks) -> None:
        now = desk.clock.now
        due = looks.due(desk.server, now)
        looks.look(due, now)
        on_signs(desk.server, looks.signs(due))

    return look


def test_links_of_a_run_stand_on_its_job(api, desk, linking):
    """From its log and its own reports, once each, also after its end and a restart."""
    job_id, folder = started(desk)
    run = "https://wandb.ai/lab/twins/runs/8x2k1f"
    own = folder / "files"
    own.mkdir()
    writes(desk, folder / "output.log", f"wandb: View run at {run}\n")
    (own / "links.json").write_text(json.dumps({"board": "http://box:6006/", "x": "file:///etc"}))
    looks = ProgressLooks()
    linking(looks)
    writes(desk, folder / "output.log", f"wandb: View run quiet at: {run}\n")
    linking(looks)
    desk.server.progress.signs.clear()
    linking(ProgressLooks())
    expected = [{"name": "W&B", "url": run}, {"name": "board", "url": "http://box:6006/"}]
    assert api.get(f"/api/v1/jobs/{job_id}").json()["links"] == expected
    assert desk.kinds(job_id).count("job.linked") == 2
    desk.worker.ended(f"{job_id}.1", 0)
    (listed,) = api.get("/api/v1/jobs").json()["jobs"]
    assert listed["links"] == expected


def test_a_job_has_a_bounded_number_of_links(api, desk, linking):
    """Whatever it writes."""
    job_id, folder = started(desk)
    lines = (f"View run at https://wandb.ai/a/b/runs/{i}\n" for i in range(500))
    writes(desk, folder / "output.log", "".join(lines))
    linking(ProgressLooks())
    assert len(api.get(f"/api/v1/jobs/{job_id}").json()["links"]) == 20
