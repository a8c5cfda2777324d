"""Faults of a real cluster: nothing is lost, nothing runs twice, and the end is the truth."""

from __future__ import annotations

import signal

import psutil
import pytest


def starts(marks) -> list[str]:
    return marks.read_text().split()


def marked(marks, then: str) -> str:
    return f'echo "$BERTH_ATTEMPT" >> {marks}; {then}'


def own_jobs(cluster) -> list[str]:
    return cluster.ask("squeue", "-h", "-o", "%A").split()


def test_jobs_go_on_without_the_worker(lab, marks, tmp_path, until):
    """One runs on and is taken up again, one ends meanwhile, one is submitted meanwhile."""
    done = tmp_path / "done"
    wait = f"while [ ! -e {done} ]; do sleep 0.1; done; exit 4"
    stays = lab.submit(script=marked(marks, wait), gpus=2)
    ends = lab.submit(script=marked(marks, f"while [ ! -e {done}.1 ]; do sleep 0.1; done"), gpus=2)
    lab.wait(stays, ends, state={"running"})
    lab.kill("worker")
    (tmp_path / "done.1").touch()
    record = lab.home / "runs" / str(ends) / "1" / "exit.json"
    until(record.exists, "the job ended while no worker was there")
    late = lab.submit(script=marked(marks, "true"), gpus=2)
    lab.start("worker")
    assert lab.wait(ends)[0]["state"] == "succeeded"
    assert lab.wait(late)[0]["state"] == "succeeded"
    assert lab.job(stays)["state"] == "running"
    done.touch()
    assert lab.wait(stays)[0]["exit_code"] == 4
    assert sorted(starts(marks)) == sorted([f"{stays}.1", f"{ends}.1", f"{late}.1"])


@pytest.mark.parametrize("daemon", ["slurmctld", "munged"])
def test_an_answer_that_is_lost(lab, clean, marks, until, daemon):
    """What a submit needs stands still while it is asked; the job may have been taken all the same."""
    stopped = psutil.Process(clean.pid(daemon))
    stopped.send_signal(signal.SIGSTOP)
    try:
        job = lab.submit(script=marked(marks, "sleep 1"), gpus=1)
        until(lambda: "Slurm does not answer" in (lab.job(job)["message"] or ""), "it is told", 60)
    finally:
        stopped.send_signal(signal.SIGCONT)
    (ended,) = lab.wait(job, timeout_s=120)
    assert ended["state"] == "succeeded"
    assert starts(marks) == [f"{job}.1"]


def test_a_controller_that_forgets(lab, clean, submitted, marks, until):
    """It dies before it has saved what it acknowledged, and gives the id to another's job."""
    state = clean.folder / "state"
    saved = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}
    job = lab.submit(script=marked(marks, "sleep 2"), gpus=1)
    until(lambda: own_jobs(clean), "Slurm has acknowledged it")
    clean.end("slurmctld", signal.SIGKILL)
    for name, content in saved.items():
        (state / name).write_bytes(content)
    clean.start_controller()
    other = submitted("--gpus-per-node=1")
    (ended,) = lab.wait(job, timeout_s=150)
    assert other in map(int, own_jobs(clean)), "another's job was taken for ours"
    if starts(marks) == [f"{job}.1"]:
        assert ended["outcome"] in {"exit", "lost"}
    assert len(starts(marks)) == 1


def test_a_lost_node(lab, clean, marks, until):
    """Its job is lost and says where; a retry runs on another node; nothing runs twice at once."""
    job = lab.submit(script=marked(marks, "sleep 600"), gpus=1, retries=1)
    lab.wait(job, state={"running"})
    (gpu,) = lab.job(job)["attempts"][-1]["gpu_uuids"]
    node = gpu.partition(":")[0]
    clean.end(f"slurmd.{node}", signal.SIGKILL)

    def again():
        attempts = lab.job(job)["attempts"]
        return attempts if len(attempts) == 2 and attempts[1]["state"] == "running" else None

    first, second = until(again, "the second attempt runs", 120)
    assert first["outcome"] == "lost"
    assert node in first["message"]
    assert second["gpu_uuids"][0].partition(":")[0] != node
    assert starts(marks) == [f"{job}.1", f"{job}.2"]
    clean.start_node(node)
    lab.post(f"/jobs/{job}/cancel")
    lab.wait(job)
    until(lambda: not _left(f"{job}.1"), "Slurm ended what was left on the node", 60)


def _left(attempt: str) -> list[int]:
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BERTH_ATTEMPT") == attempt:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
