"""kill -9 at any moment: jobs go on, are taken up again, end with the truth, and run once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from berth_worker import shim

SHIM = Path(shim.__file__).with_name("__main__.py")
WAITS = 'echo "run $BERTH_ATTEMPT" >> marks; while [ ! -e go ]; do sleep 0.02; done; exit 7'


def fork_server(worker) -> psutil.Process:
    children = psutil.Process(worker.process.pid).children()
    return next(child for child in children if "--fork-server" in child.cmdline())


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("ends", ["while it is away", "after it is back"])
def test_a_killed_worker_takes_its_jobs_up_again(worker, until, ends):
    """The exit code is the job's own, whether it ended before or after the restart."""
    attempt = worker.run(script=WAITS, gpus=(0, 1))
    began = worker.until_phase(attempt, "running")
    until((worker.work / "marks").exists, "the job runs")
    worker.kill()
    assert worker.pids(), "the job lives without the worker"
    if ends == "while it is away":
        (worker.work / "go").touch()
        until(lambda: not worker.pids(), "the job has ended")
    worker.start()
    if ends == "after it is back":
        reports = len(worker.server.reports)
        until(lambda: len(worker.server.reports) > reports + 1, "the new worker reports")
        again = worker.until_phase(attempt, "running")
        assert again.started_at == began.started_at
        assert again.launch == began.launch
        (worker.work / "go").touch()
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.exit_code) == ("exit", 7)
    assert ended.launch == began.launch
    assert (worker.work / "marks").read_text() == f"run {attempt}\n"


def test_a_job_that_is_to_stop_is_stopped_by_the_next_worker(worker):
    """A stop that the old worker never heard of reaches the shim through the new one."""
    attempt = worker.run("sleep 1000", gpus=(0,))
    worker.until_phase(attempt, "running")
    worker.kill()
    worker.stop(attempt)
    worker.start()
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.cause) == ("cancelled", "stopped")


def test_a_killed_shim_means_lost_and_leaves_nothing(worker, until):
    """Without its shim an attempt is lost; its processes are found by their mark and ended."""
    attempt = worker.run(script="setsid sleep 1000 & sleep 1001", gpus=(0, 1))
    worker.until_phase(attempt, "running")
    until(lambda: len(worker.pids()) == 3, "all of it runs")
    (pid,) = worker.shims()
    os.kill(pid, signal.SIGKILL)
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit) == ("lost", None)
    assert not worker.pids()


def test_a_shim_killed_while_no_worker_runs_means_lost(worker, until):
    """The next worker finds a claim without a living shim and without a record."""
    attempt = worker.run("sleep 1000", gpus=(0,))
    worker.until_phase(attempt, "running")
    worker.kill()
    (pid,) = worker.shims()
    os.kill(pid, signal.SIGKILL)
    worker.start()
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit) == ("lost", None)
    assert not worker.pids()


def test_a_reboot_means_lost(worker):
    """A claim of another boot counts for no process, even when the pid is reused."""
    spec = worker.spec("true")
    folder = Path(spec["run_dir"])
    folder.mkdir(parents=True)
    me = psutil.Process()
    claim = {"pid": me.pid, "start_ticks": 1, "boot_id": "another", "attempt": spec["attempt"]}
    (folder / "started").write_text(json.dumps(claim))
    worker.desire(spec)
    ended = worker.until_clear(spec["attempt"])
    assert ended.outcome == "lost"
    assert "restarted" in ended.message


def test_a_claimed_attempt_is_never_started_again(worker):
    """A run directory that was claimed is never run, whatever else it holds or lacks."""
    spec = worker.spec(["touch", str(worker.work / "ran")])
    folder = Path(spec["run_dir"])
    folder.mkdir(parents=True)
    (folder / "started").write_text("")  # all that a power cut left of it
    worker.desire(spec)
    assert worker.until_clear(spec["attempt"]).outcome == "lost"
    assert not (worker.work / "ran").exists()


def test_of_two_shims_one_runs(worker, until):
    """However many shims are started on one launch.json, the job runs once."""
    attempt = worker.run(script="echo once >> marks")
    worker.until_clear(attempt)
    folder = worker.folder(attempt)
    until((folder / "exit.json").exists, "its shim has done its last")
    for name in ("started", "shim.json", "exit.json"):
        (folder / name).unlink(missing_ok=True)
    command = [sys.executable, "-I", "-S", str(SHIM), str(folder / "launch.json")]
    shims = [subprocess.Popen(command) for _ in range(6)]
    assert [process.wait(20) for process in shims] == [0] * 6
    assert (worker.work / "marks").read_text() == "once\n" * 2
    assert json.loads((folder / "exit.json").read_text())["exit_code"] == 0


def test_there_is_one_worker_per_home(worker):
    """A second worker says so and leaves; the first goes on."""
    second = subprocess.run(
        [sys.executable, "-m", "berth_worker"],
        env=os.environ | {"BERTH_HOME": str(worker.home), "BERTH_GPUS": "sim:1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 75
    assert "already runs" in second.stderr
    worker.until_clear(worker.run("true"))


def test_a_dead_fork_server_is_replaced(worker, until):
    """Jobs outlive the fork server, and the next ones start all the same."""
    attempt = worker.run("sleep 1000")
    worker.until_phase(attempt, "running")
    old = fork_server(worker)
    old.kill()
    until(lambda: gone(old), "it is gone")
    assert worker.until_clear(worker.run("true")).exit.exit_code == 0
    assert worker.until_clear(worker.run("true")).exit.exit_code == 0
    assert worker.seen(attempt).phase == "running"
    worker.stop(attempt)
    assert worker.until_clear(attempt).outcome == "cancelled"


def test_the_fork_server_leaves_with_its_worker(worker, until):
    """After kill -9 of the worker nothing of it is left but the shims of its jobs."""
    old = fork_server(worker)
    worker.kill()
    until(lambda: gone(old), "the fork server has left")


def test_jobs_go_on_without_the_server(worker, until):
    """An end during an outage of the server is reported when it, or a new one, is back."""
    attempt = worker.run(script=WAITS, gpus=(3,))
    worker.until_phase(attempt, "running")
    worker.server.down()
    (worker.work / "go").touch()
    until(lambda: not worker.pids(), "the job has ended")
    seen = len(worker.server.reports)
    worker.server.up()
    ended = worker.until_clear(attempt)
    assert ended.exit.exit_code == 7
    until(
        lambda: any(report.snapshot for report in worker.server.reports[seen:]),
        "a new server gets everything",
    )
    assert worker.until_clear(worker.run("true")).exit.exit_code == 0


def test_a_worker_waits_for_its_server(idle_worker, until):
    """Without a server the worker stays and finds it when it comes."""
    idle_worker.start()
    until((idle_worker.home / "run" / "worker.pid").exists, "the worker runs")
    idle_worker.server.up()
    until(lambda: idle_worker.server.reports, "the worker reports")


def test_what_the_server_forgets_is_forgotten(worker, until):
    """The reports of every second hold what is desired, and nothing else any more."""
    attempt = worker.run("true", gpus=(0,))
    worker.until_clear(attempt)
    reports = worker.server.reports
    until(lambda: attempt in {a.attempt for a in reports[-1].attempts}, "it is reported again")
    worker.forget(attempt)
    reported = len(reports)
    until(lambda: len(reports) > reported + 2, "more reports")
    assert not reports[-1].attempts


def test_random_kills_run_every_attempt_once(worker, until):
    """Kill -9 of the worker while attempts stream through: each runs once, each end is true."""
    attempts: dict[str, int] = {}
    for number in range(24):
        code = number % 3
        script = f"echo $BERTH_ATTEMPT >> {worker.work}/marks; exit {code}"
        attempts[worker.run(script=script, gpus=(number % 8,))] = code
        if number % 4 == 3:
            worker.kill()
            worker.start()
    for attempt, code in attempts.items():
        ended = worker.until_clear(attempt, 60)
        assert (ended.outcome, ended.exit.exit_code) == ("exit", code), ended
    marks = (worker.work / "marks").read_text().split()
    assert sorted(marks) == sorted(attempts)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_cannot_swallow_the_end(worker, until):
    """A job that fills the disk gets the error itself; its end is still on record."""
    runs = worker.home / "runs"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(runs)])
    if mounted.returncode != 0:
        pytest.skip("mounts are not allowed here")
    try:
        fill = "import os, time\ntime.sleep(1)\nwhile 1: os.write(1, b'x' * 65536)"
        attempt = worker.run(["python", "-c", fill])
        ended = worker.until_clear(attempt)
        assert ended.outcome == "disk_full"
        path = worker.folder(attempt) / "exit.json"
        until(path.exists, "the record is written")
        record = json.loads(path.read_text())
        assert record["exit_code"] == 1
        assert shutil.disk_usage(runs).free == 0
    finally:
        worker.kill(signal.SIGTERM)
        subprocess.run(["umount", "-l", str(runs)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs jobs as others")
class TestAsAnotherUser:
    """A root worker runs jobs as their users, and believes nothing that they forge."""

    UID = 65534

    def test_it_runs_as_the_user(self, worker):
        """uid, groups, HOME and the run directory are the user's own."""
        script = 'id -u; id -G; echo "$HOME"; echo ok > "$BERTH_RUN_DIR/metrics.jsonl"'
        attempt = worker.run(script=script, uid=self.UID, workdir="/")
        ended = worker.until_clear(attempt)
        assert ended.exit.exit_code == 0, worker.output(attempt)
        uid, groups, home = worker.output(attempt).split("\n")[:3]
        assert (uid, groups) == (str(self.UID), str(self.UID))
        assert home != os.environ["HOME"]
        assert (worker.folder(attempt) / "metrics.jsonl").stat().st_uid == self.UID

    def test_a_folder_that_is_not_theirs_is_refused(self, worker):
        """A workdir that the user may not enter is a launch error with a sentence."""
        closed = worker.work / "closed"
        closed.mkdir(mode=0o700)
        ended = worker.until_clear(worker.run("true", uid=self.UID, workdir=str(closed)))
        assert ended.outcome == "launch_error"
        assert str(closed) in ended.message
        assert "Permission denied" in ended.message

    def test_an_unknown_user_is_refused(self, worker):
        """A uid without an account is a launch error with a sentence."""
        ended = worker.until_clear(worker.run("true", uid=54321))
        assert "54321" in ended.message


def test_after_a_reboot_nothing_desired_before_is_started(worker, until):
    """
    A power cut can take a claim with it: what was desired before the new boot was reported of is
    lost rather than run a second time; what is desired afterwards runs.
    """
    until((worker.home / "run" / "worker.boot").exists, "the boot is noted")
    worker.kill(signal.SIGTERM)
    (worker.home / "run" / "worker.boot").write_text("an earlier boot\n")
    before = worker.spec(["touch", str(worker.work / "ran")])
    worker.desire(before)
    worker.start()
    ended = worker.until_clear(before["attempt"])
    assert (ended.outcome, "restarted" in ended.message) == ("lost", True)
    assert worker.until_clear(worker.run("true")).exit.exit_code == 0
    assert not (worker.work / "ran").exists()


def test_the_worker_leaves_at_once_and_alone(worker):
    """SIGTERM ends the worker within a second; its jobs go on."""
    attempt = worker.run("sleep 1000", gpus=(0,))
    worker.until_phase(attempt, "running")
    begun = time.monotonic()
    assert worker.kill(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 2
    assert worker.pids()
    assert not (worker.home / "run" / "worker.pid").exists()
