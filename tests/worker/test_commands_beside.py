"""Commands beside a job start in its fence and as its user; the test plays worker and client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from berth.sessions import frames
from berth_worker import shim
from berth_worker.fence import APPLY, probe

SHIM = Path(shim.__file__).with_name("__main__.py")
FENCE = probe()


@pytest.fixture
def job(tmp_path, until):
    """A job that sleeps behind a fence, as nobody where the test is root; its shim."""
    is_root = os.geteuid() == 0
    uid = 65534 if is_root else None
    files = tmp_path / "files"
    files.mkdir()
    if uid:
        os.chown(files, uid, uid)
    launch = {
        "attempt": "1.1",
        "argv": ["/bin/sleep", "600"],
        "env": {"PATH": os.environ["PATH"], "OWN": "kept"},
        "cwd": "/",
        "files": "files",
        "uid": uid,
        "gid": uid or os.getgid(),
        "groups": [],
        "fence": {
            "kind": "namespace",
            "mask": ["/dev/zero"] if FENCE.can_mask else [],
            "user_namespace": FENCE.user_namespace,
            "drop_capabilities": list(FENCE.drop_capabilities),
            "apply": str(APPLY),
        },
        "grace_s": 1.0,
    }
    (tmp_path / "launch.json").write_text(json.dumps(launch))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SHIM), str(tmp_path / "launch.json")]
    )
    until((tmp_path / "shim.json").exists, "the start of the job")
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)


def order(folder, process, *orders):
    """Ask for commands, as a worker does."""
    part = folder / "part"
    part.write_text(json.dumps(orders))
    part.rename(folder / "beside.json")
    process.send_signal(signal.SIGUSR2)


def command(number, *argv):
    return {"number": number, "argv": argv, "terminal": False, "env": {"MORE": "given"}}


def answer(folder, number, until):
    """Connect to a command; what it wrote, and its exit code."""
    path = folder / "files" / f"exec-{number}.sock"
    connection = socket.socket(socket.AF_UNIX)

    def connected():
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True

    until(connected, f"the socket of command {number}")
    incoming, said = frames.Frames(), b""
    while data := connection.recv(65536):
        for kind, payload in incoming.feed(data):
            if kind == frames.EXIT:
                return said.decode(), int(payload)
            said += payload
    pytest.fail(f"It ended without a code, after {said!r}")


def test_it_is_in_the_fence_and_the_user_of_the_job(job, tmp_path, until):
    """A masked device is masked, the user is the job's, both environments are there."""
    script = "id -u; echo $OWN $MORE; stat -c %t:%T /dev/zero; cat /proc/self/oom_score_adj; exit 5"
    order(tmp_path, job, command(7, "sh", "-c", script))
    said, code = answer(tmp_path, 7, until)
    uid = 65534 if os.geteuid() == 0 else os.getuid()
    device = "1:3" if FENCE.can_mask else "1:5"
    assert (said.split(), code) == ([str(uid), "kept", "given", device, "0"], 5)


def test_each_is_started_once(job, tmp_path, until):
    """Orders that come again, as after a restart of the worker, start nothing."""
    first = command(1, "sh", "-c", "echo 1 >&2; echo done")
    order(tmp_path, job, first)
    said, code = answer(tmp_path, 1, until)
    assert (sorted(said.split()), code) == (["1", "done"], 0)
    order(tmp_path, job, first, command(2, "echo", "second"))
    assert answer(tmp_path, 2, until) == ("second\n", 0)
    assert not (tmp_path / "files" / "exec-1.sock").exists()


def test_what_is_no_order_starts_nothing(job, tmp_path, until):
    """The job goes on, and takes the next one."""
    (tmp_path / "beside.json").write_text("[{")
    job.send_signal(signal.SIGUSR2)
    order(tmp_path, job, command(3, "echo", "third"))
    assert answer(tmp_path, 3, until) == ("third\n", 0)
