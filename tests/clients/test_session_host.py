"""Program of a job with a terminal, as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from berth.sessions import attached, frames


@pytest.fixture
def session(tmp_path):
    """A shell that waits for a line and ends with 3."""
    command = [sys.executable, "-m", "berth.sessions.host", "--", "sh", "-c", "read line; exit 3"]
    with subprocess.Popen(
        command, env={**os.environ, "BERTH_RUN_DIR": str(tmp_path)}, stdout=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def connect(folder):
    while True:
        try:
            return attached.connect(folder)
        except OSError:
            time.sleep(0.01)


def test_a_terminal_that_leaves_before_its_turn_ends_nothing(session, tmp_path):
    """As when ssh breaks while it attaches: the session is there for the next one."""
    connect(tmp_path).close()
    os.kill(session.pid, signal.SIGSTOP)
    for _ in range(3):
        connect(tmp_path).close()
    os.kill(session.pid, signal.SIGCONT)
    with connect(tmp_path) as connection:
        connection.sendall(frames.frame(frames.INPUT, b"go on\n"))
        assert session.wait(60) == 3
