"""`berth up` and `berth down` with the real server and worker, on eight simulated GPUs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port
from typer.testing import CliRunner

from berth.cli.main import app
from berth.daemons import identity
from berth.home import Home

pytestmark = pytest.mark.xdist_group("up and down")  # one Berth for all of them
BERTH = [sys.executable, "-m", "berth.cli.main"]


class Lab:
    """A home of its own and the command line in it."""

    def __init__(self) -> None:
        # pytest's own folders are too deep for a unix socket's 107 characters.
        self.home = Home(Path(tempfile.mkdtemp(prefix="berth-cli-")))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        self.env = {
            **kept,
            "BERTH_HOME": str(self.home.folder),
            "BERTH_GPUS": "sim:8",
            "BERTH_LISTEN": f"127.0.0.1:{free_port()}",
            "NO_COLOR": "1",
        }

    def run(self, *words: str, code: int | None = 0, **more: str) -> str:
        """Run a command in this process, hold it to its exit code, and return its stdout."""
        with contextlib.chdir(self.home.folder):
            done = CliRunner().invoke(
                app, words, env={"BERTH_URL": None, "BERTH_TOKEN": None, **self.env, **more}
            )
        assert code in {None, done.exit_code}, (words, done.stdout, done.stderr)
        self.stderr = done.stderr
        return done.stdout

    def json(self, *words: str, code: int | None = 0):
        """Run a command with --json and return what it printed."""
        verb, *rest = words
        return json.loads(self.run(verb, "--json", *rest, code=code))

    def pid(self, name: str) -> int | None:
        who = identity.alive(self.home.supervisor_pid if name == "keeper" else self.home.pid(name))
        return who.pid if who else None

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self.run("down", "--jobs", "cancel")
        self.run("down", code=None)
        # A test that failed half-way may have left a job without its daemons.
        for record in self.home.folder.glob("runs/*/*/shim.json"):
            for key in ("shim", "first"):
                if who := identity.alive(record, key):
                    who.send(signal.SIGKILL)
        shutil.rmtree(self.home.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A Berth that is up; a test that takes it down brings it up again."""
    lab = Lab()
    try:
        lab.run("up", "--detach")
        yield lab
    finally:
        lab.close()


def test_up_twice_is_up_once(lab):
    """`berth up` where it is up says so, with the address, and starts nothing."""
    pids = [lab.pid(name) for name in ("keeper", "server", "worker")]
    assert all(pids)

    words = lab.run("up", "--detach")

    assert f"Berth was already up (pid {pids[0]})." in words
    assert str(lab.home.socket) in words
    assert [lab.pid(name) for name in ("keeper", "server", "worker")] == pids


def test_up_tells_what_people_need_next(lab):
    """GPUs, fence, socket and a link that signs in."""
    facts = lab.json("up", "--detach", "--timeout", "1m")

    assert facts["already_up"]
    assert len(facts["box"]["gpus"]) == 8
    assert "/login?code=" in facts["link"]


def test_jobs_can_be_submitted_as_soon_as_it_returned(lab):
    """The exit code, stdout and the log of a job are its own."""
    out = lab.run("run", "--gpus", "2", "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)

    assert out == "out\nerr\n"
    assert "failed" in lab.stderr
    job = lab.json("ls", "--all", "-n", "1")[0]
    assert (job["state"], job["outcome"], job["exit_code"]) == ("failed", "exit", 7)
    assert lab.run("logs", str(job["id"])) == out
    assert lab.run("logs", "-n", "1", str(job["id"])) == "err\n"


def test_bytes_survive_the_stream(lab):
    """Following gives every byte as it was written, also those that are no text."""
    script = (
        r"for i in 1 2 3; do printf 'a\377\000\302\n'; sleep 0.1; done; printf 'no end \342\202'"
    )
    expected = b"a\xff\x00\xc2\n" * 3 + b"no end \xe2\x82"
    done = subprocess.run(
        [*BERTH, "run", "-g", "0", "--", "sh", "-c", script], capture_output=True, env=lab.env
    )

    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_a_job_file_and_wait(lab):
    """Several jobs in one file, waited for together, distinguished by the code."""
    jobs = "- {command: 'true', gpus: 1, name: 007}\n- {command: 'exit 3', gpus: 0}\n"
    (lab.home.folder / "jobs.yaml").write_text(jobs)

    ids = [str(i) for i in lab.json("submit", "jobs.yaml")["ids"]]

    lab.run("wait", *ids, code=1)
    lab.run("wait", ids[0])
    lab.run("wait", ids[1], code=3)
    assert lab.json("show", ids[0])["name"] == "007"


def test_the_queue_is_explained(lab):
    """why, ls, gpus, status, set, hold, release and cancel, on jobs that wait and run."""
    first = str(lab.json("submit", "-g", "8", "--", "sleep", "600")["id"])
    second = str(lab.json("submit", "-g", "4", "--name", "next", "--", "true")["id"])
    try:
        assert f"job {first}" in lab.run("why", second)
        assert [str(job["id"]) for job in lab.json("ls", "-s", "running,queued")] == [second, first]
        assert lab.run("gpus").count(f"job {first} ") == 8
        assert "1 running, 1 queued" in lab.run("status")
        assert "priority 5" in lab.run("set", second, "--priority", "5")
        assert "held" in lab.run("hold", second)
        assert "queued" in lab.run("release", second)
        assert lab.json("submit", "--dry-run", "-g", "8", "--", "true")["starts_now"] is False
        lab.run("wait", second, "--timeout", "0.2s", code=124)
        assert "cancelled" in lab.run("cancel", second)
    finally:
        lab.run("cancel", first)
    assert lab.json("wait", first, code=None)["state"] == "cancelled"


def test_from_another_machine_with_a_token(lab):
    """Over TCP a token says who is calling; without one the sentence names the fix."""
    url = lab.json("up", "--detach")["link"].split("/login")[0]
    token = lab.run("token", "create", "laptop").strip()

    assert json.loads(lab.run("gpus", "--json", BERTH_URL=url, BERTH_TOKEN=token))["gpus"]
    lab.run("run", "-g", "0", "--", "sh", "-c", "exit 6", code=6, BERTH_URL=url, BERTH_TOKEN=token)
    lab.run("gpus", BERTH_URL=url, code=4)
    assert "token" in lab.stderr
    lab.run("gpus", BERTH_URL="http://127.0.0.1:9", code=3)
    assert "http://127.0.0.1:9" in lab.stderr


def test_refusals_have_their_code(lab):
    """A refusal of the server exits with 4 and its sentence."""
    lab.run("show", "999999", code=4)
    assert "999999" in lab.stderr
    lab.run("submit", "-g", "99", "--", "true", code=4)
    assert "8 GPUs" in lab.stderr
    (lab.home.folder / "typo.yaml").write_text("command: 'true'\ngpu: 1\n")
    lab.run("submit", "typo.yaml", code=4)
    assert "gpus" in lab.stderr


@pytest.mark.parametrize("victim", ["server", "worker"])
def test_a_killed_daemon_comes_back_and_is_waited_for(lab, victim):
    """Kill -9 of a daemon: jobs go on, followers go on, the next command waits for it."""
    follow = subprocess.Popen(
        [
            *BERTH,
            "run",
            "-g",
            "1",
            "--",
            "sh",
            "-c",
            "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=lab.env,
        cwd=lab.home.folder,
    )
    go = lab.home.folder / "go"
    try:
        assert follow.stdout.readline() == "one\n"
        before = lab.pid(victim)
        os.kill(before, signal.SIGKILL)
        assert lab.json("ls", "-s", "running")
        go.touch()
        out, err = follow.communicate(timeout=60)
    finally:
        follow.kill()
        go.unlink(missing_ok=True)

    assert (follow.returncode, out) == (0, "two\n"), err
    assert lab.pid(victim) not in {None, before}


def test_down_leaves_jobs_alone_and_up_takes_them_up(lab, until):
    """Daemons stop, the job continues and is named, and its true end is known afterwards."""
    job = lab.json(
        "submit", "-g", "1", "--", "sh", "-c", "while [ ! -e end ]; do sleep 0.05; done; exit 5"
    )["id"]
    until(lambda: lab.json("show", str(job))["state"] == "running", "the job runs", 30)

    assert lab.json("down") == {
        "were_up": ["keeper", "server", "worker"],
        "jobs_that_go_on": [job],
    }
    assert lab.pid("server") is lab.pid("worker") is lab.pid("keeper") is None
    assert "was not up" in lab.run("down")
    assert f"1 job continues to run: {job}" in lab.run("down")
    lab.run("ls", code=3)

    (lab.home.folder / "end").touch()
    lab.run("up", "--detach")
    lab.run("wait", str(job), code=5)


def test_down_can_cancel_what_runs_and_keeps_the_queue(lab, until):
    """With --jobs cancel the running job ends, and the queued one starts only after the next up."""
    running = lab.json("submit", "-g", "8", "--", "sleep", "600")["id"]
    queued = lab.json("submit", "-g", "8", "--", "true")["id"]
    until(lambda: lab.json("show", str(running))["state"] == "running", "the first runs", 30)

    assert lab.json("down", "--jobs", "cancel")["jobs_that_go_on"] == []
    assert not list(lab.home.folder.glob(f"runs/{queued}"))

    lab.run("up", "--detach")
    assert lab.json("show", str(running))["state"] == "cancelled"
    lab.run("wait", str(queued))


def test_up_that_cannot_start_says_why_and_leaves_nothing():
    """A wrong setting ends `berth up --detach` with the daemon's own sentence."""
    lab = Lab()
    try:
        lab.run("up", "--detach", code=3, BERTH_GPUS="sim:8xToaster")
        assert "Toaster" in lab.stderr
        assert "Traceback" not in lab.stderr
        assert lab.pid("keeper") is lab.pid("server") is lab.pid("worker") is None
    finally:
        lab.close()


def test_up_in_the_foreground_ends_with_ctrl_c(until):
    """In a terminal it tells where it is, and Ctrl-C stops both daemons."""
    lab = Lab()
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [*BERTH, "up"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=lab.env,
        start_new_session=True,
    )
    os.close(terminal)
    said = b""
    try:
        while b"Ctrl-C" not in said:
            said += os.read(screen, 4096)
        assert b"Berth is up." in said
        assert lab.pid("keeper") == process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert lab.pid("server") is lab.pid("worker") is None
    finally:
        process.kill()
        process.wait()
        os.close(screen)
        lab.close()
