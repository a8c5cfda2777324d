"""A job makes room for a more urgent one, saves first, and goes on where it was."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import pytest

TRAIN = (
    "deepspeed --num_gpus=2 train_deepspeed.py --config config.json "
    "--ablation_config profile_only --output_dir outputs/preempted --max_steps 4000"
)
# Saves when it is warned, at its own pace, then goes on until TERM.
SAVES = """
import signal, time
from berth import jobside
asked = []
jobside.on_warning(lambda: asked.append(True))
print("ready", flush=True)
while True:
    time.sleep(0.02)
    if asked:
        asked.clear()
        print("saving", flush=True)
        time.sleep(0.3)
        jobside.checkpoint_saved(7)
        print("saved", flush=True)
"""


@pytest.fixture
def urgent_box(tmp_path, open_box):
    """Two GPUs where no job waits for a preemption."""
    logs = tmp_path / "daemons"
    logs.mkdir()
    with open_box(logs, gpus="sim:2") as box:
        yield box


def running(box, job_id: int) -> bool:
    return box.job(job_id)["state"] == "running"


def log_of(box, job_id: int, attempt: int) -> str:
    answer = box.http.get(f"/api/v1/jobs/{job_id}/log", params={"attempt": attempt})
    return answer.content.decode(errors="replace")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_warned_job_is_stopped_as_soon_as_it_has_saved(urgent_box, until):
    """
    USR1, then its checkpoint, then TERM at once although it might take an hour; its GPUs go to
    the urgent job, and it is queued again.
    """
    box = urgent_box
    low = box.submit(
        command=[sys.executable, "-c", SAVES],
        gpus=2,
        preemptible=True,
        warn_before="1h",
        grace="30s",
    )
    until(lambda: running(box, low) and "ready" in box.log(low), "the preemptible job runs")
    high = box.submit(command=["true"], gpus=2, priority=10, name="urgent")
    (ended,) = box.wait(high)
    assert ended["state"] == "succeeded"
    until(lambda: running(box, low), "the preempted job runs again")
    first, second = box.job(low)["attempts"]
    assert (first["outcome"], first["signal"]) == ("preempted", 15)
    assert "Preempted by job 2 (urgent)" in first["message"]
    assert first["saved_at"] is not None
    assert second["state"] == "running"
    assert log_of(box, low, 1).split() == ["ready", "saving", "saved"]


def test_who_handles_no_warning_is_not_waited_for(urgent_box, until):
    """There is nothing it could save: TERM comes at once."""
    box = urgent_box
    low = box.submit(
        command=["sleep", "600"], gpus=1, preemptible=True, warn_before="1h", grace="30s"
    )
    until(lambda: running(box, low), "the preemptible job runs")
    box.wait(box.submit(command=["true"], gpus=2, priority=10))
    assert box.job(low)["attempts"][0]["outcome"] == "preempted"


def test_the_job_that_saved_last_makes_room(urgent_box, until):
    """Of two equal jobs the one with a fresh checkpoint loses least."""
    box = urgent_box
    note = "from berth import jobside; import time; jobside.checkpoint_saved(1); time.sleep(600)"
    saver = box.submit(command=[sys.executable, "-c", note], gpus=1, preemptible=True)
    until(lambda: running(box, saver), "the first runs")
    other = box.submit(command=["sleep", "600"], gpus=1, preemptible=True)
    until(lambda: running(box, other), "the second runs")
    # Without its checkpoint the older job would lose more: the younger one would have to go.
    (Path(box.job(saver)["attempts"][0]["run_dir"]) / "files" / "saved.json").touch()
    saved = until(lambda: box.job(saver)["attempts"][0]["saved_at"], "its checkpoint is known")
    until(
        lambda: (
            moment(box.job(saver)["attempts"][0]["saved_at"] or saved)
            > moment(box.job(other)["started_at"])
        ),
        "its checkpoint is younger than the other's start",
    )
    box.wait(box.submit(command=["true"], gpus=1, priority=10))
    assert box.job(saver)["attempts"][0]["outcome"] == "preempted"
    assert running(box, other)


def test_shares_leave_a_gpu_that_an_urgent_gang_needs(urgent_box, until):
    """Both lie on one GPU; it is released whole, and they run again afterwards."""
    box = urgent_box
    spec = {"command": ["sleep", "600"], "share": True, "gpu_memory": "20GiB"}
    shares = [box.submit(**spec, preemptible=True) for _ in range(2)]
    until(lambda: all(running(box, job) for job in shares), "both shares run")
    assert box.job(shares[0])["gpu_indices"] == box.job(shares[1])["gpu_indices"]
    (ended,) = box.wait(box.submit(command=["true"], gpus=2, priority=10))
    assert ended["state"] == "succeeded"
    until(lambda: all(running(box, job) for job in shares), "both run again")
    for job in shares:
        assert box.job(job)["attempts"][0]["outcome"] == "preempted"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_preempted_training_run_resumes_from_its_checkpoint(urgent_box, workspace, until):
    """
    The bundled trainer on two ranks under ZeRO-3: warned in the middle, it saves, makes room,
    and its second attempt goes on from that checkpoint by itself.
    """
    box = urgent_box
    run = box.submit(
        command=TRAIN, workdir=str(workspace), preemptible=True, warn_before="2m", grace="2m"
    )

    def trains() -> bool:
        points = box.get(f"/jobs/{run}/metrics")["points"]
        return any("loss" in point for point in points)

    until(trains, "the run has made its first steps", 240)
    urgent = box.submit(
        command=["bash", "-c", "echo $CUDA_VISIBLE_DEVICES"], gpus=2, priority=10, name="urgent"
    )
    (done,) = box.wait(urgent, timeout_s=240)
    assert (done["state"], box.log(urgent).strip()) == ("succeeded", "0,1")
    until(lambda: "resuming from" in box.log(run), "the second attempt resumes", 240)
    first, second = box.job(run)["attempts"]
    assert (first["outcome"], second["state"]) == ("preempted", "running")
    assert "stopped at step" in log_of(box, run, 1)
    # The GPUs were one job's after the other's, never two at a time.
    assert moment(first["ended_at"]) <= moment(done["started_at"])
    assert moment(done["ended_at"]) <= moment(second["started_at"])
    assert box.post(f"/jobs/{run}/cancel").status_code == 200
    box.wait(run, timeout_s=240)
