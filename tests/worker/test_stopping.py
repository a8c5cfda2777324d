"""Stopping: by request, by the clock, and after the job's own end."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

import pytest


@pytest.fixture(name="worker")
def _worker(shared_worker):
    return shared_worker


IGNORE_TERM = "trap '' TERM; while :; do sleep 0.1; done"
SAVE_ON_TERM = """
import signal, sys, time
def save(number, frame):
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


def test_a_stop_gives_time_to_save(worker, until):
    """TERM comes first; who saves and leaves within the grace is not killed."""
    attempt = worker.run(["python", "-c", SAVE_ON_TERM], gpus=(0,))
    worker.until_phase(attempt, "running")
    until(lambda: "ready" in worker.output(attempt), "the handler is set")
    worker.stop(attempt)
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.cause, ended.exit.exit_code) == ("cancelled", "stopped", 0)
    assert ended.exit.killed == 0
    assert worker.output(attempt) == "ready\nsaved\n"


def test_who_ignores_the_stop_is_killed_after_the_grace(worker):
    """KILL follows the grace, and the message says so."""
    attempt = worker.run(script=IGNORE_TERM, grace="500ms", gpus=(0,))
    worker.until_phase(attempt, "running")
    worker.stop(attempt, "preempted")
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.signal) == ("preempted", signal.SIGKILL)
    assert ended.exit.killed >= 1
    assert "grace of 500ms" in ended.message
    assert not worker.pids()


def test_a_shorter_grace_hurries_a_stop(worker):
    """A second, more urgent stop does not have to wait for the first one's grace."""
    attempt = worker.run(script=IGNORE_TERM, grace="1h", gpus=(0,))
    worker.until_phase(attempt, "running")
    worker.stop(attempt)
    worker.until_phase(attempt, "stopping")
    worker.change(attempt, grace="0s")
    assert worker.until_clear(attempt).exit.signal == signal.SIGKILL


def test_a_stop_before_the_start_means_it_never_starts(worker):
    """An attempt first seen with action stop ends as cancelled, without an exit record."""
    spec = worker.spec(["touch", str(worker.work / "ran")], gpus=(0,))
    worker.desire(spec | {"action": "stop", "stop_reason": "cancelled"})
    ended = worker.until_clear(spec["attempt"])
    assert (ended.phase, ended.outcome, ended.exit) == ("ended", "cancelled", None)
    worker.desire(spec)
    worker.until_clear(worker.run("true"))
    assert not (worker.work / "ran").exists()


@pytest.mark.parametrize("warn_before", ["1s", "60s"])
def test_the_time_limit_warns_then_stops(worker, warn_before):
    """
    USR1 goes ahead of the limit to those who handle it alone, at half of a short one; then TERM;
    outcome time_limit.
    """
    script = """
    sleep 100 &
    trap 'echo warned' USR1
    echo ready
    while :; do wait; done
    """
    attempt = worker.run(script=script, time_limit="2s", warn_before=warn_before)
    ended = worker.until_clear(attempt)
    assert worker.output(attempt).splitlines()[:2] == ["ready", "warned"]
    assert (ended.outcome, ended.exit.cause) == ("time_limit", "time_limit")
    assert "2s" in ended.message
    ran = ended.exit.ended_at - ended.exit.started_at
    assert timedelta(seconds=1.9) < ran < timedelta(seconds=4)


@pytest.mark.parametrize("detach", ["setsid", "nohup", "setsid nohup"])
def test_no_process_outlives_the_job(worker, detach):
    """Background processes, detached or not, are ended after the job's first process."""
    attempt = worker.run(script=f"{detach} sleep 1000 >/dev/null 2>&1 & exit 0", gpus=(0,))
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.exit_code) == ("exit", 0)
    assert not worker.pids()
    assert "left 1 process running" in ended.message


def test_a_double_fork_does_not_escape_a_stop(worker, until):
    """An orphan that ignores TERM in a session of its own is killed with its job."""
    script = f'setsid sh -c "{IGNORE_TERM}" & echo $! > orphan; wait'
    attempt = worker.run(script=script, grace="300ms", gpus=(0,))
    until((worker.work / "orphan").exists, "the orphan runs")
    worker.stop(attempt)
    worker.until_clear(attempt)
    assert not worker.pids()


def test_kill_0_in_a_script_spares_the_shim(worker):
    """A script that signals its own process group does not take its record with it."""
    ended = worker.until_clear(worker.run(script="kill -KILL 0"))
    assert (ended.outcome, ended.exit.signal) == ("exit", signal.SIGKILL)


RANK = """
import os, signal, sys, time
rank = os.environ["LOCAL_RANK"]
def say(text):
    os.write(1, f"{text}\\n".encode())
def term(number, frame):
    say(f"rank {rank} term")
    time.sleep(0.5)
    say(f"rank {rank} saved")
    os._exit(0)
signal.signal(signal.SIGTERM, term)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, lambda *a: say(f"helper {rank} term"))
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.05)
    os._exit(0)
say(f"rank {rank} ready")
while True:
    time.sleep(1)
"""

LAUNCHER = """
import os, signal, subprocess, sys, time
ranks = [
    subprocess.Popen([sys.executable, "-c", sys.argv[1]],
                     env={**os.environ, "LOCAL_RANK": str(i)}, start_new_session=True)
    for i in range(2)
]
def term(number, frame):
    print("launcher term", flush=True)
    for rank in ranks:
        rank.kill()
signal.signal(signal.SIGTERM, term)
sys.exit(max(abs(rank.wait()) for rank in ranks))
"""


def test_ranks_save_together_before_their_launcher_hears_of_it(worker, until):
    """
    All ranks get TERM at once; a launcher that would kill them on TERM, and helpers that a
    saving rank still needs, get none meanwhile.
    """
    attempt = worker.run(["python", "-c", LAUNCHER, RANK], gpus=(0, 1))
    worker.until_phase(attempt, "running")
    until(lambda: worker.output(attempt).count("ready") == 2, "both ranks run")
    worker.stop(attempt)
    ended = worker.until_clear(attempt)
    said = worker.output(attempt).splitlines()
    shown = [line for line in said if line.startswith("rank")]
    assert sorted(shown[:2]) == ["rank 0 ready", "rank 1 ready"]
    assert sorted(shown[2:4]) == ["rank 0 term", "rank 1 term"]
    assert sorted(shown[4:]) == ["rank 0 saved", "rank 1 saved"]
    for rank in "01":
        after = said[said.index(f"rank {rank} saved") :]
        assert said.count(f"helper {rank} term") == after.count(f"helper {rank} term")
    saved = [said.index(f"rank {rank} saved") for rank in "01"]
    assert "launcher term" not in said[: max(saved)]
    assert ended.exit.cause == "stopped"


def test_a_launcher_that_leaves_its_ranks_has_not_succeeded(worker, until):
    """Exit code 0 while a whole set of ranks still runs is a failure with a sentence."""
    leaving = LAUNCHER.split("def term", maxsplit=1)[0] + (
        "while not (os.path.exists('0') and os.path.exists('1')): time.sleep(0.01)\nos._exit(0)"
    )
    rank = "import os, time; open(os.environ['LOCAL_RANK'], 'w'); time.sleep(1000)"
    attempt = worker.run(
        ["python", "-c", leaving, rank], gpus=(0, 1), env={"LOCAL_WORLD_SIZE": "2"}
    )
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.exit_code) == ("exit", 1)
    assert "ranks still ran" in ended.message
    assert not worker.pids()


def test_an_end_from_outside_is_not_a_users_stop(worker, until):
    """A shim that another process stops (a shutdown) makes the attempt lost."""
    attempt = worker.run("sleep 1000", gpus=(0,))
    worker.until_phase(attempt, "running")
    (shim,) = worker.shims()
    os.kill(shim, signal.SIGTERM)
    ended = worker.until_clear(attempt)
    assert ended.outcome == "lost"
    assert "outside" in ended.message


@pytest.mark.parametrize(
    "trap", ["trap : EXIT", "trap 'echo cleanup' EXIT; (trap - EXIT; sleep 9) &"]
)
def test_a_shell_with_an_exit_trap_alone_is_not_warned(worker, trap):
    """Its handler runs the trap and dies: it has not asked for the warning."""
    attempt = worker.run(script=f"{trap}\nsleep 2; echo done", time_limit="3s", warn_before="2s")
    ended = worker.until_clear(attempt)
    assert worker.output(attempt).splitlines()[0] == "done"
    assert (ended.outcome, ended.exit.exit_code) == ("exit", 0)


def test_a_shell_with_both_traps_is_warned(worker):
    """A trap for USR1 beside the one on EXIT is told, however it is written."""
    script = "trap 'echo bye' EXIT\ntrap 'echo warned; exit 0' USR1\necho ready\nsleep 100 &\nwait"
    attempt = worker.run(script=script, time_limit="2s")
    worker.until_clear(attempt)
    assert worker.output(attempt).splitlines()[:2] == ["ready", "warned"]


def test_a_running_attempt_may_be_given_more_time_and_looked_at(worker, until):
    """A longer limit is read when the first is reached; a look at its processes is reported."""
    script = "echo ready\nuntil [ -e go ]; do sleep 0.05; done\necho done"
    attempt = worker.run(script=script, time_limit="4s", grace="1s")
    worker.until_phase(attempt, "running")
    worker.change(attempt, time_limit="10m", examine=3)

    def looked() -> bool:
        seen = worker.seen(attempt)
        return seen is not None and seen.examination is not None

    until(looked, "its processes were looked at")
    found = worker.seen(attempt).examination
    assert found.number == 3
    assert found.processes
    assert all(not one.debugged for one in found.processes)
    # Looking takes six seconds: the first limit has passed.
    (worker.work / "go").touch()
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.exit_code) == ("exit", 0)
