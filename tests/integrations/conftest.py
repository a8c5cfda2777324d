"""One real box of two simulated GPUs for the tools that submit to it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

import pytest


class Terminal:
    """A person's terminal in which `berth` runs."""

    def __init__(self, *words: str, home: str) -> None:
        self.text = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ.update(BERTH_HOME=home, TERM="xterm", NO_COLOR="1", SHELL="/bin/bash")
            os.environ.update(PS1="$ ", HOME="/nonexistent")
            command = [sys.executable, "-m", "berth.cli.main", *words]
            os.execv(command[0], command)
        self.resize(40, 100)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self, timeout_s: float = 0.2) -> bool:
        """Read what is there; False at the end."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def see(self, wanted: str, timeout_s: float = 60) -> re.Match[str]:
        """Wait until a pattern is on the screen."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(wanted, self.text)):
            alive = self.read()
            if not alive or time.monotonic() > deadline:
                pytest.fail(f"Never on the screen: {wanted}\n{self.text}")
        self.text = self.text[found.end() :]
        return found

    def attached(self) -> int:
        """Wait until it is attached to a job; the job's id."""
        return int(self.see(r"Attached to job (\d+)")[1])

    def leave(self, timeout_s: float = 60) -> int:
        """Wait for the end of the command; its exit code."""
        deadline = time.monotonic() + timeout_s
        while self.read():
            if time.monotonic() > deadline:
                pytest.fail(f"It does not end:\n{self.text}")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture(scope="session")
def queue(tmp_path_factory, open_box):
    """A box that this process's clients find."""
    with open_box(tmp_path_factory.mktemp("daemons"), gpus="sim:2") as box:
        yield box


@pytest.fixture(autouse=True)
def its_clients(queue, monkeypatch):
    """Clients of this process find the box as a user's would."""
    for name in [n for n in os.environ if n.startswith(("BERTH_", "SLURM_", "SUBMITIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BERTH_HOME", str(queue.home))


@pytest.fixture
def sit_at(queue):
    """Sit at a terminal and type a command of berth's."""
    opened: list[Terminal] = []

    def sit(*words: str) -> Terminal:
        opened.append(Terminal(*words, home=str(queue.home)))
        return opened[-1]

    yield sit
    for terminal in opened:
        os.close(terminal.master)
