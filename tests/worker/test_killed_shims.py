"""A shim that is killed leaves nothing behind on the GPUs that are given on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys

import psutil
import pytest

from berth_worker.attempts import orphans
from berth_worker.devices import AttemptProcesses, processes

MALLORY = 65_534

# How a job's child hides: without environment, session, parent or output of the job's.
HIDING = {
    "cleared": "(env -i sleep {own} > /dev/null 2>&1 &)",
    "own session": "(env -i setsid sleep {own} > /dev/null 2>&1 < /dev/null &)",
    "twice forked": "(setsid env -i sh -c 'sleep {own} & wait' > /dev/null 2>&1 < /dev/null &)",
    "with the log": "(setsid env -i sleep {own} < /dev/null &)",
}


@pytest.mark.parametrize("uid", [None, MALLORY])
@pytest.mark.parametrize("how", HIDING)
def test_a_killed_shims_hidden_children_end_before_its_gpus_are_clear(
    shared_worker, until, how, uid
):
    """Found by session, log and parent: their environment tells nothing."""
    if uid is not None and os.geteuid() != 0:
        pytest.skip("another user needs root")
    shared_worker.work.chmod(0o777)
    ready = shared_worker.work / "ready"
    hide = shared_worker.work / "hide.sh"  # the launcher refuses `env -i` in plain sight
    own = f"1000.{secrets.randbelow(10**9)}"  # nobody else sleeps as long
    hide.write_text(HIDING[how].replace("{own}", own) + "\n")
    attempt = shared_worker.run(
        script=f"sh {hide}; touch {ready}; exec sleep 1001", gpus=(0,), uid=uid, workdir="/"
    )
    until(ready.exists, "its child was started")
    (shim,) = (pid for pid in shared_worker.shims() if str(pid) in claim(shared_worker, attempt))
    until(lambda: sleepers(own), "its child sleeps")
    os.kill(shim, signal.SIGKILL)
    ended = shared_worker.until_clear(attempt)
    assert ended.outcome == "lost"
    assert not sleepers(own)


def claim(worker, attempt: str) -> str:
    return (worker.folder(attempt) / "started").read_text()


def sleepers(own: str) -> set[int]:
    """Return the processes that sleep for this test."""
    found: set[int] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline() == ["sleep", own]:
                found.add(process.pid)
    return found


def test_processes_that_only_read_or_belong_to_others_are_no_strays(tmp_path):
    """An editor, a follower of the log, a job of the same user beside it."""
    log = tmp_path / "output.log"
    log.touch()
    hold = (
        "import sys, time; f = open(sys.argv[1], sys.argv[2]); print(1, flush=True); time.sleep(60)"
    )
    held = [
        subprocess.Popen(
            [sys.executable, "-c", hold, str(log), mode],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for mode in ("r", "a")
    ]
    try:
        for one in held:
            assert one.stdout is not None
            one.stdout.readline()
        facts = log.stat()
        traces = orphans.Traces(log=(facts.st_dev, facts.st_ino))
        mine = AttemptProcesses("1.1", (), frozenset(), os.geteuid())
        assert orphans.strays(mine, traces, processes.table()) == {held[1].pid}
        other = AttemptProcesses("1.1", (), frozenset(), os.geteuid() + 12345)
        assert orphans.strays(other, traces, processes.table()) == set()
    finally:
        for one in held:
            one.kill()
            one.wait()
