"""Acts of Slurm and of its administrator on Berth's jobs: none lost, none twice, the end is the truth."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest


def marked(marks, then: str) -> str:
    return f'echo "$BERTH_ATTEMPT" >> {marks}; {then}'


def starts(marks) -> list[str]:
    return marks.read_text().split()


def supervisor_of(home) -> psutil.Process | None:
    """Slurm's own process that watches the batch process of this home's one job."""
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            parent = process.parent() if "on_node.single" in words and str(home) in words else None
            if parent is not None and parent.name() == "slurmstepd":
                return parent
        except psutil.Error:  # it has just ended
            continue
    return None


@pytest.fixture
def slurm_id(clean, until):
    """The id of the one job that the cluster has."""

    def find() -> str:
        return until(lambda: clean.ask("squeue", "-h", "-o", "%A").split(), "Slurm has it")[0]

    return find


@pytest.fixture
def closed(clean):
    """A partition in which nothing starts; a call opens it."""
    clean.ask("scontrol", "update", "PartitionName=gpu", "State=DOWN")

    def open_it() -> None:
        clean.ask("scontrol", "update", "PartitionName=gpu", "State=UP")

    yield open_it
    open_it()


@pytest.fixture
def gate(tmp_path):
    """A job's last words: it goes on until the file `gate.path` is there."""

    class Gate:
        path = tmp_path / "gate"
        wait = f"while [ ! -e {path} ]; do sleep 0.1; done"

    return Gate()


def test_preempted_by_slurm(lab, submitted, marks, gate, until):
    """A job of a higher partition takes its node; it is queued again and goes on elsewhere."""
    job = lab.submit(script=marked(marks, gate.wait), gpus=8)
    lab.wait(job, state={"running"})
    node = lab.job(job)["attempts"][0]["gpu_uuids"][0].partition(":")[0]
    submitted("--partition=urgent", "--gpus-per-node=8", f"--nodelist={node}")
    until(lambda: starts(marks) == [f"{job}.1", f"{job}.2"], "the second attempt runs", 90)
    gate.path.touch()
    (ended,) = lab.wait(job, timeout_s=60)
    first, second = ended["attempts"]
    assert (first["outcome"], ended["state"]) == ("preempted", "succeeded")
    assert "Slurm preempted its job" in first["message"]
    assert second["gpu_uuids"][0].partition(":")[0] != node
    assert starts(marks) == [f"{job}.1", f"{job}.2"]


def test_held_and_released(lab, clean, closed, slurm_id, marks, until):
    """A held job says so, and how it goes on."""
    job = lab.submit(script=marked(marks, "true"), gpus=1)
    number = slurm_id()
    clean.ask("scontrol", "hold", number)
    until(lambda: "holds it" in (lab.job(job)["message"] or ""), "it says that it is held")
    closed()
    clean.ask("scontrol", "release", number)
    (ended,) = lab.wait(job, timeout_s=60)
    assert ended["state"] == "succeeded"
    assert starts(marks) == [f"{job}.1"]


def test_cancelled_while_it_waits(lab, clean, closed, slurm_id, marks):
    """The administrator's scancel ends a job that has not started."""
    job = lab.submit(script=marked(marks, "true"), gpus=1)
    clean.ask("scancel", slurm_id())
    (ended,) = lab.wait(job, timeout_s=60)
    assert ended["outcome"] == "cancelled"
    assert "cancelled in Slurm before it started" in ended["message"]
    assert starts(marks) == []


def test_suspended_and_resumed(lab, clean, slurm_id, marks, gate, until):
    """A suspended job says so, and goes on where it was."""
    job = lab.submit(script=marked(marks, gate.wait), gpus=1)
    lab.wait(job, state={"running"})
    number = slurm_id()
    clean.ask("scontrol", "suspend", number)
    until(lambda: "suspended" in (lab.job(job)["message"] or ""), "it says that it is suspended")
    clean.ask("scontrol", "resume", number)
    until(lambda: not lab.job(job)["message"], "it says so no longer")
    gate.path.touch()
    (ended,) = lab.wait(job, timeout_s=60)
    assert ended["state"] == "succeeded"
    assert starts(marks) == [f"{job}.1"]


def test_requeued_by_the_administrator(lab, clean, slurm_id, marks, gate, until):
    """Slurm stops it to queue it again; Berth does that itself, so that there is one queue."""
    job = lab.submit(script=marked(marks, gate.wait), gpus=1)
    lab.wait(job, state={"running"})
    number = slurm_id()
    clean.ask("scontrol", "update", f"JobId={number}", "Requeue=1")
    clean.ask("scontrol", "requeue", number)
    until(lambda: starts(marks) == [f"{job}.1", f"{job}.2"], "the second attempt runs", 90)
    gate.path.touch()
    (ended,) = lab.wait(job, timeout_s=60)
    assert [one["outcome"] for one in ended["attempts"]] == ["preempted", "exit"]
    assert starts(marks) == [f"{job}.1", f"{job}.2"]
    until(lambda: not clean.ask("squeue", "-h"), "Slurm's own second run is taken back")


def test_a_node_whose_prolog_fails(lab, clean, marks, until):
    """Slurm drains the node and calls the job cancelled; it runs on another node all the same."""
    for node in clean.nodes[:2]:
        (clean.folder / f"fails.{node}").touch()
    job = lab.submit(script=marked(marks, "true"), gpus=8)
    (ended,) = lab.wait(job, timeout_s=150)
    assert (ended["state"], len(ended["attempts"])) == ("succeeded", 1)
    assert ended["attempts"][0]["gpu_uuids"][0].startswith("n3:")
    assert starts(marks) == [f"{job}.1"]


def test_slurms_supervisor_is_killed(lab, marks, until):
    """Slurm goes on to call the job running; Berth ends the run, says why, and lets no rank behind."""
    job = lab.submit(script=marked(marks, "sleep 600"), gpus=1, grace="2s")
    until(lambda: starts(marks), "it runs")
    lab.wait(job, state={"running"})
    until(lambda: supervisor_of(lab.home), "it is found").send_signal(signal.SIGKILL)
    (ended,) = lab.wait(job, timeout_s=120)
    assert (ended["state"], ended["outcome"]) == ("failed", "lost")
    assert "slurmstepd on n1 was killed" in ended["message"]
    assert starts(marks) == [f"{job}.1"]


def test_a_cancel_while_slurm_gives_no_answer(lab, clean, marks, until):
    """The node hears of it by the shared disk."""
    job = lab.submit(script=marked(marks, "sleep 600"), gpus=1, grace="2s")
    until(lambda: starts(marks), "it runs")
    controller = psutil.Process(clean.pid("slurmctld"))
    controller.send_signal(signal.SIGSTOP)
    try:
        lab.post(f"/jobs/{job}/cancel")
        record = Path(lab.home) / "runs" / str(job) / "1" / "exit.json"
        until(record.exists, "the run has ended", 60)
    finally:
        controller.send_signal(signal.SIGCONT)
    (ended,) = lab.wait(job, timeout_s=60)
    assert (ended["state"], ended["outcome"]) == ("cancelled", "cancelled")


def test_forgotten_before_its_end_was_read(lab, clean, marks, gate, until):
    """Slurm purges the job while no worker is there; the run's own record tells."""
    config = clean.conf.read_text()
    job = lab.submit(script=marked(marks, f"{gate.wait}; exit 5"), gpus=1)
    lab.wait(job, state={"running"})
    lab.kill("worker")
    try:
        clean.conf.write_text(f"{config}\nMinJobAge=2\n")
        clean.ask("scontrol", "reconfigure")
        gate.path.touch()
        until(lambda: not clean.ask("squeue", "-h", "-t", "all"), "Slurm has forgotten it", 90)
    finally:
        clean.conf.write_text(config)
        clean.ask("scontrol", "reconfigure")
        lab.start("worker")
    (ended,) = lab.wait(job, timeout_s=120)
    assert (ended["state"], ended["exit_code"]) == ("failed", 5)
    assert starts(marks) == [f"{job}.1"]


def test_a_second_job_of_the_same_name(lab, clean, slurm_id, submitted, marks, gate, until):
    """As after a lost answer: it finds the run begun, and ends without a start."""
    job = lab.submit(script=marked(marks, gate.wait), gpus=1)
    lab.wait(job, state={"running"})
    number = slurm_id()
    script = clean.ask("scontrol", "write", "batch_script", number, "-")
    program = next(line for line in script.splitlines() if line.startswith("exec "))
    name = clean.ask("squeue", "-h", "-j", number, "-o", "%j").strip()
    second = str(submitted(f"--job-name={name}", "--gpus-per-node=1", does=program))
    until(lambda: second not in clean.ask("squeue", "-h", "-o", "%A").split(), "it is gone", 60)
    assert lab.job(job)["state"] == "running"
    gate.path.touch()
    (ended,) = lab.wait(job, timeout_s=60)
    assert ended["state"] == "succeeded"
    assert starts(marks) == [f"{job}.1"]


def test_a_controller_that_starts_it_again(lab, clean, closed, slurm_id, marks, gate, until):
    """What it last saved says that the job waits, so it is started once more beside its own run."""
    job = lab.submit(script=marked(marks, gate.wait), gpus=1)
    slurm_id()
    until(lambda: "waits in Slurm" in (lab.job(job)["message"] or ""), "it waits")
    state = clean.folder / "state"
    saved = {path.name: path.read_bytes() for path in state.glob("job_state*")}
    clean.ask("scontrol", "reconfigure")
    closed()
    until(lambda: starts(marks), "it runs")
    clean.end("slurmctld", signal.SIGKILL)
    for name, content in saved.items():
        (state / name).write_bytes(content)
    clean.start_controller()
    gate.path.touch()
    (ended,) = lab.wait(job, timeout_s=150)
    assert ended["outcome"] in {"exit", "lost"}
    assert starts(marks) == [f"{job}.1"]
