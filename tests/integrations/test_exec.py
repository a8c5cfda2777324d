"""Commands beside running jobs, and runs with a terminal: a real server, worker and shim."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from berth.sessions import frames


@pytest.fixture
def run_beside(queue):
    """Run `berth exec` without a terminal."""

    def run(*words: object, **settings) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "berth.cli.main", "exec", *map(str, words)]
        env = {**os.environ, "BERTH_HOME": str(queue.home), "NO_COLOR": "1"}
        return subprocess.run(
            command, env=env, capture_output=True, timeout=60, check=False, **settings
        )

    return run


@pytest.fixture
def running(queue):
    """A job on one GPU that runs until the test ends."""
    job = queue.submit(command=["sleep", "600"], gpus=1, env={"OWN": "kept"}, grace="1s")
    queue.wait(job, state={"running"})
    yield job
    queue.post(f"/jobs/{job}/cancel")
    queue.wait(job)


def test_a_command_runs_beside_a_job(queue, running, run_beside):
    """In its environment and folder, with its GPUs; outputs apart, input read, exit code kept."""
    script = "cat; echo $BERTH_JOB_ID $CUDA_VISIBLE_DEVICES $OWN; pwd; echo no >&2; exit 7"
    done = run_beside(running, "--", "sh", "-c", script, input=b"typed\n")
    job = queue.job(running)
    own = f"{running} {job['gpu_indices'][0]} kept\n{job['workdir']}\n"
    assert done.stdout.decode() == "typed\n" + own, done
    assert (done.stderr, done.returncode) == (b"no\n", 7)
    assert queue.log(running) == ""


def test_much_goes_through_whole(running, run_beside):
    """More than any buffer between."""
    data = os.urandom(6 << 20)
    done = run_beside(running, "--", "cat", input=data)
    assert done.returncode == 0
    assert done.stdout == data


_ANCESTORS = """
import os
at = os.getpid()
while at > 1:
    at = int(open(f"/proc/{at}/stat").read().rpartition(")")[2].split()[1])
    print(at)
"""


def test_its_processes_are_descendants_of_the_shim(queue, running, run_beside, until):
    """So what they do on a GPU is the job's, and its end is theirs."""
    record = Path(queue.job(running)["attempts"][-1]["run_dir"], "shim.json")
    shim = json.loads(until(lambda: record.exists() and record.read_text(), "shim.json"))["shim"]
    done = run_beside(running, "--", sys.executable, "-c", _ANCESTORS)
    assert str(shim["pid"]) in done.stdout.decode().split()


def test_it_cannot_outlive_the_job(queue, sit_at):
    """Though it ignores every signal that may be ignored."""
    job = queue.submit(command=["sleep", "600"], gpus=1, grace="1s")
    queue.wait(job, state={"running"})
    terminal = sit_at("exec", str(job), "--", "/bin/bash", "--norc", "-i")
    terminal.type("trap '' HUP TERM; echo pid=$$ on=$CUDA_VISIBLE_DEVICES; tty\n")
    pid = int(terminal.see(r"pid=(\d+) on=\d")[1])
    terminal.see(r"/dev/pts/\d+")
    queue.post(f"/jobs/{job}/cancel")
    terminal.leave()
    queue.wait(job)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_is_no_remainder_of_a_job_that_ends_by_itself(queue, tmp_path, sit_at):
    """The job succeeds, without a word about processes that it left."""
    go = tmp_path / "go"
    job = queue.submit(command=["sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done"], gpus=0)
    queue.wait(job, state={"running"})
    terminal = sit_at("exec", str(job), "--", "/bin/bash", "--norc", "-i")
    terminal.type("echo rea''dy\n")
    terminal.see("ready")
    go.touch()
    terminal.leave()
    ended = queue.wait(job)[0]
    assert (ended["state"], ended["message"]) == ("succeeded", "It has succeeded.")


def test_it_ends_when_its_terminal_is_gone(queue, running, sit_at, until):
    """As an ssh connection's would; the job goes on."""
    terminal = sit_at("exec", str(running), "--", "/bin/bash", "--norc", "-i")
    terminal.type("echo pid=$$\n")
    pid = int(terminal.see(r"pid=(\d+)")[1])
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.leave()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the command")
    assert queue.job(running)["state"] == "running"


def test_a_command_that_cannot_start_says_why(running, run_beside):
    """In the words of a job that cannot."""
    done = run_beside(running, "--", "no-such-program")
    assert done.returncode == 127
    assert b"no-such-program was not found on the job's PATH" in done.stderr


def test_only_a_job_that_runs_takes_commands(queue, run_beside):
    """An ended one is refused in a sentence."""
    job = queue.submit(command=["true"], gpus=0)
    queue.wait(job)
    done = run_beside(job, "--", "true")
    assert done.returncode == 4
    assert re.search(
        rf"Job {job} has already succeeded; a command needs a running job", done.stderr.decode()
    )


def test_a_run_with_a_terminal(queue, sit_at):
    """It is a job like any other: detached it goes on, attached it is as it was."""
    first = sit_at("run", "--pty", "--gpus", "1", "--", "/bin/bash", "--norc", "-i")
    job = first.attached()
    first.type("tty; X=kept\n")
    first.see(r"/dev/pts/\d+")
    first.type("\x1d")
    first.see("Detached")
    assert first.leave() == 0
    second = sit_at("attach", str(job))
    assert second.attached() == job
    second.type("echo still=$X; exit 3\n")
    second.see("still=kept")
    assert second.leave() == 3
    assert queue.wait(job)[0]["exit_code"] == 3


def test_both_ends_speak_of_the_same_frames():
    """The shim imports nothing from the rest of Berth, so it has its own letters."""
    from berth_worker.shim import beside

    names = ("OUTPUT", "ERROR", "EXIT", "INPUT", "END_OF_INPUT", "SIZE")
    assert [getattr(beside, name) for name in names] == [getattr(frames, name) for name in names]
