"""The supervisor: daemons are started, started again, taken over and stopped, each exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.daemons import identity
from berth.daemons.lock import Lock
from berth.home import Home

SUPERVISOR = """
import json, sys
from pathlib import Path
from berth.daemons.daemon import Daemon
from berth.home import Home
from berth.daemons.supervisor import DaemonSupervisor

home = Home(Path(sys.argv[1]))
tell = lambda sentence: print(sentence, file=sys.stderr, flush=True)
daemons = [Daemon(name, home, tell, argv) for name, argv in json.loads(sys.argv[2]).items()]
sys.exit(DaemonSupervisor(home, daemons).run(sys.argv[3:]))
"""
# Notes each start, writes its identity as the daemons do, and leaves on TERM.
DAEMON = """
import os, signal, sys, time
from pathlib import Path
from berth.daemons import identity
pid_file, marks = map(Path, sys.argv[1:3])
pid_file.write_text(identity.of(os.getpid()).line())
if len(sys.argv) > 3:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with marks.open("a") as stream:
    stream.write(f"{os.getpid()}\\n")
print("up", flush=True)
while True:
    signal.pause()
"""


class Kept:
    """A supervisor of fake daemons in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.home.make()
        self.supervisors: list[subprocess.Popen[str]] = []

    def command(self, name: str, *more: str) -> list[str]:
        marks = str(self.folder / f"{name}.marks")
        return [sys.executable, "-c", DAEMON, str(self.home.pid(name)), marks, *more]

    def start(self, commands: dict[str, list[str]] | None = None, *announce: str):
        commands = commands or {name: self.command(name) for name in ("server", "worker")}
        supervisor = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SUPERVISOR,
                str(self.home.folder),
                json.dumps(commands),
                *announce,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.supervisors.append(supervisor)
        return supervisor

    def pids(self, name: str) -> list[int]:
        """Pids of a daemon in the order in which it was started."""
        marks = self.folder / f"{name}.marks"
        return [int(line) for line in marks.read_text().split()] if marks.exists() else []

    def close(self) -> None:
        for supervisor in self.supervisors:
            if supervisor.poll() is None:
                supervisor.kill()
            supervisor.communicate()
        for name in ("server", "worker"):
            for pid in self.pids(name):
                who = identity.of(pid)
                if who is not None and b"signal.pause" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    who.send(signal.SIGKILL)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A supervisor that is gone with its daemons after the test."""
    kept = Kept(tmp_path)
    yield kept
    kept.close()


def both_up(kept: Kept) -> bool:
    return all(identity.alive(kept.home.pid(name)) for name in ("server", "worker"))


def test_daemons_are_started_and_stopped_in_order(kept, until):
    """One signal ends all; logs and the supervisor's own files are where they belong."""
    supervisor = kept.start()
    until(lambda: both_up(kept), "both daemons are up", 20)
    assert identity.alive(kept.home.supervisor_pid).pid == supervisor.pid

    supervisor.terminate()
    _, words = supervisor.communicate(timeout=20)

    assert (supervisor.returncode, words) == (0, "")
    assert not both_up(kept)
    assert not kept.home.supervisor_pid.exists()
    assert kept.home.log("server").read_text() == "up\n"


@pytest.mark.parametrize("victim", ["server", "worker"])
def test_a_killed_daemon_is_started_again(kept, until, victim):
    """Kill -9 of one daemon brings that one back and leaves the other alone."""
    supervisor = kept.start()
    until(lambda: both_up(kept), "both daemons are up", 20)

    os.kill(kept.pids(victim)[0], signal.SIGKILL)
    until(lambda: len(kept.pids(victim)) == 2 and both_up(kept), "it is back", 20)

    other = "worker" if victim == "server" else "server"
    assert len(kept.pids(other)) == 1
    state = json.loads(kept.home.supervisor_state.read_text())
    assert (state[victim]["failures"], state[other]["failures"]) == (1, 0)
    supervisor.terminate()
    assert f"The {victim} was killed by signal 9" in supervisor.communicate(timeout=20)[1]


def test_a_daemon_that_cannot_start_is_tried_ever_more_slowly(kept, until):
    """The pauses double; a stop in the middle of one is obeyed at once."""
    script = f"open({str(kept.folder / 'server.marks')!r}, 'a').write('0\\n'); raise SystemExit(2)"
    supervisor = kept.start({"server": [sys.executable, "-c", script]})
    until(lambda: len(kept.pids("server")) >= 3, "it was tried three times", 20)

    supervisor.terminate()
    _, words = supervisor.communicate(timeout=20)

    assert words.count("exited with code 2") >= 2
    assert "in 0.1 s" in words
    assert "in 0.2 s" in words


def test_a_command_that_is_not_there_is_no_crash(kept, until):
    """The supervisor says so and goes on."""
    supervisor = kept.start({"server": ["/nowhere/python"]})
    until(kept.home.supervisor_state.exists, "the first try is over", 20)

    supervisor.terminate()
    assert "could not be started" in supervisor.communicate(timeout=20)[1]


def test_a_daemon_that_does_not_leave_is_killed(kept, until, monkeypatch):
    """TERM that is ignored ends in KILL after the grace."""
    from berth.daemons.daemon import Daemon

    shown: list[str] = []
    daemon = Daemon("server", kept.home, shown.append, kept.command("server", "stubborn"))
    daemon.start()
    until(lambda: kept.pids("server"), "it is up", 20)
    who = daemon.who

    daemon.stop(0.2)

    assert not who.alive
    assert "is killed" in shown[0]


def test_there_is_one_supervisor_per_home(kept, until):
    """A second supervisor leaves at once and touches nothing."""
    kept.start()
    until(lambda: both_up(kept), "both daemons are up", 20)

    second = kept.start()

    assert "already up" in second.communicate(timeout=20)[1]
    assert second.returncode == 75
    assert [len(kept.pids(name)) for name in ("server", "worker")] == [1, 1]


def test_daemons_outlive_a_killed_supervisor_and_are_taken_over(kept, until):
    """Kill -9 of the supervisor leaves the daemons; the next one watches them, and starts none."""
    first = kept.start()
    until(lambda: both_up(kept), "both daemons are up", 20)
    first.kill()
    first.wait()
    assert both_up(kept)

    second = kept.start()
    until(lambda: identity.alive(kept.home.supervisor_pid), "the second keeps them", 20)
    until(kept.home.supervisor_state.exists, "it has looked at both", 20)
    os.kill(kept.pids("worker")[0], signal.SIGKILL)
    until(lambda: len(kept.pids("worker")) == 2, "the worker was started again", 20)
    assert len(kept.pids("server")) == 1

    second.terminate()
    second.communicate(timeout=20)
    until(lambda: not both_up(kept), "both are stopped", 20)


def test_ctrl_c_reaches_the_supervisor_alone(kept, until):
    """Daemons have sessions of their own: they are stopped in order, not all at once."""
    kept.start()
    until(lambda: both_up(kept), "both daemons are up", 20)

    for name in ("server", "worker"):
        pid = kept.pids(name)[0]
        assert os.getsid(pid) == pid


def test_the_announcement_is_not_waited_for(kept, until):
    """Commands work while the daemons run."""
    said = kept.folder / "said"
    kept.start(None, "/bin/sh", "-c", f"echo hello > {said}")

    until(said.exists, "it has spoken", 20)
    until(lambda: both_up(kept), "both daemons are up", 20)


class TestIdentity:
    def test_a_later_process_with_the_same_pid_is_another(self):
        """Pid, start time and boot must all fit."""
        mine = identity.of(os.getpid())

        assert mine.alive
        assert not identity.Identity(mine.pid, mine.start_ticks - 1, mine.boot_id).alive
        assert not identity.Identity(mine.pid, mine.start_ticks, "another boot").alive
        assert not identity.Identity(mine.pid, mine.start_ticks + 1, mine.boot_id).send(
            signal.SIGKILL
        )

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", "7", '{"pid": "x", "start_ticks": 1}', "{}"]
    )
    def test_a_broken_pid_file_names_no_process(self, tmp_path, content):
        """Half a file is no process."""
        (tmp_path / "x.pid").write_text(content)

        assert identity.alive(tmp_path / "x.pid") is None
        assert identity.alive(tmp_path / "none.pid") is None

    def test_an_ended_process_is_reported(self):
        """Neither a zombie nor a gone process is alive, and waiting for it ends."""
        child = subprocess.Popen(["/bin/sleep", "100"])
        who = identity.of(child.pid)
        assert not who.wait(0.05)
        assert who.send(signal.SIGKILL)
        assert who.wait(10)
        assert not who.alive
        child.wait()
        assert who.wait(0)
        assert not who.send(signal.SIGTERM)


def test_a_lock_is_taken_once_and_can_be_taken_again(tmp_path):
    """The file names its holder while it is held."""
    first, second = Lock(tmp_path / "x.pid"), Lock(tmp_path / "x.pid")

    assert first.take()
    assert not second.take()
    assert identity.read(tmp_path / "x.pid").pid == os.getpid()
    first.release()
    assert second.take()
    second.release()
    second.release()
