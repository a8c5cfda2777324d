"""A shim whose job was over at once is given another attempt, and nothing of the first."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from berth_worker.attempts.rundir import RunDir
from berth_worker.fence import APPLY
from berth_worker.launch import Starter
from berth_worker.shim import exec_job, fork_server, supervise


@pytest.fixture
def starter() -> Iterator[Starter]:
    found = Starter()
    yield found
    found.close()


def orders(
    folder: Path, attempt: str, script: str, more: dict[str, Any] | None = None, **env: str
) -> Path:
    """A launch.json for a shell's text; `more` replaces fields of it."""
    folder.mkdir()
    launch = {
        "attempt": attempt,
        "argv": ["/bin/sh", "-c", script],
        "env": {"PATH": os.environ["PATH"], **env},
        "cwd": str(folder),
        "uid": None,
        "gid": os.getgid(),
        "groups": [],
        "fence": {
            "mask": [],
            "user_namespace": False,
            "drop_capabilities": [],
            "apply": str(APPLY),
        },
        "grace_s": 5.0,
        **(more or {}),
    }
    path = folder / "launch.json"
    path.write_text(json.dumps(launch))
    return path


def hear(pipe: int) -> dict[str, Any]:
    """What a shim says to its end, by word."""
    heard = b""
    deadline = time.monotonic() + 20
    while b"ended " not in heard or not heard.endswith(b"\n"):
        assert select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0], heard
        chunk = os.read(pipe, 65536)
        assert chunk, heard
        heard += chunk
    lines = (line.partition(" ") for line in heard.decode().splitlines())
    return {word: json.loads(text) for word, _, text in lines}


def run(starter: Starter, path: Path) -> dict[str, Any]:
    """Run an attempt to its end, as the worker does."""
    pipe = starter.start(path)
    try:
        return hear(pipe)
    finally:
        os.close(pipe)


def until_served_twice(
    starter: Starter, tmp_path: Path, *, stop_late: bool = False
) -> list[dict[str, Any]]:
    """
    Run attempts in turn until a shim has served two; what was heard of all, in order.

    `stop_late`: each shim gets TERM between its attempt's end and the worker's letting go.
    """
    heard: list[dict[str, Any]] = []
    deadline = time.monotonic() + 20
    while len({one["began"]["shim"]["pid"] for one in heard}) == len(heard):
        assert time.monotonic() < deadline, "every attempt had a shim of its own"
        number = len(heard) + 1
        script = f'echo "$MARK"; umask; sleep 0.02; exit {number}'
        pipe = starter.start(
            orders(tmp_path / str(number), f"{number}.1", script, MARK=f"mark {number}")
        )
        heard.append(hear(pipe))
        if stop_late:
            os.kill(heard[-1]["began"]["shim"]["pid"], signal.SIGTERM)
        os.close(pipe)
    return heard


@pytest.mark.parametrize("stop_late", [False, True])
def test_one_shim_serves_one_attempt_after_the_other(starter, tmp_path, stop_late):
    """
    Each attempt has its own record, log and environment, whoever was its shim before; a stop
    that was sent before the worker heard of an end does not end the shim's next attempt.
    """
    for number, one in enumerate(until_served_twice(starter, tmp_path, stop_late=stop_late), 1):
        folder = tmp_path / str(number)
        assert one["ended"]["attempt"] == f"{number}.1"
        assert (one["ended"]["cause"], one["ended"]["exit_code"]) == ("exit", number)
        assert (folder / "output.log").read_text() == f"mark {number}\n0022\n"
        assert json.loads((folder / "started").read_text())["attempt"] == f"{number}.1"


def test_no_shim_is_taken_over_whose_end_was_not_heard(starter, tmp_path):
    """As long as the worker has not let go of an attempt, its shim serves no other."""
    pipe = starter.start(orders(tmp_path / "a", "1.1", "true"))
    shim = hear(pipe)["began"]["shim"]["pid"]
    second = run(starter, orders(tmp_path / "b", "2.1", "true"))
    os.close(pipe)

    assert second["began"]["shim"]["pid"] != shim


@pytest.mark.parametrize(
    "script", ["sleep 0.3", "sleep 60 & exit 0", "(setsid env -i sleep 60 > /dev/null &) & exit 0"]
)
def test_a_shim_of_a_job_that_stays_is_used_once(starter, tmp_path, until, script):
    """What was set up for a job that stays, or for ending one, is left to no other."""
    first = run(starter, orders(tmp_path / "a", "1.1", script))
    shim = first["began"]["shim"]["pid"]
    until(lambda: not psutil.pid_exists(shim), "the shim has left")


def test_a_shim_that_ended_a_job_is_used_once(starter, tmp_path, until):
    """However soon the stop came: what it was told is left to no other attempt."""
    path = orders(tmp_path / "a", "1.1", "exec sleep 60")
    pipe = starter.start(path)
    until((path.parent / "started").exists, "it is claimed")
    shim = json.loads((path.parent / "started").read_text())["pid"]
    os.kill(shim, signal.SIGTERM)
    ended = hear(pipe)["ended"]
    os.close(pipe)

    assert (ended["cause"], ended["exit_code"]) == ("stopped", None)
    until(lambda: not psutil.pid_exists(shim), "the shim has left")
    second = run(starter, orders(tmp_path / "b", "2.1", "true"))
    assert (second["ended"]["cause"], second["ended"]["exit_code"]) == ("exit", 0)


def test_after_a_rush_one_shim_is_left(starter, tmp_path, until):
    """Shims that served many attempts side by side do not stay when there is no more work."""
    paths = [orders(tmp_path / str(n), f"{n}.1", "sleep 0.02") for n in range(8)]
    pipes = [starter.start(path) for path in paths]
    shims = {hear(pipe)["began"]["shim"]["pid"] for pipe in pipes}
    for pipe in pipes:
        os.close(pipe)

    assert len(shims) == 8

    until(lambda: sum(map(psutil.pid_exists, shims)) <= 1, "all but one have left")
    assert run(starter, orders(tmp_path / "z", "99.1", "true"))["ended"]["exit_code"] == 0


def nursery_of(starter: Starter, tmp_path: Path, until: Any) -> tuple[psutil.Process, list[int]]:
    """A nursery in which one shim waits, and the pids of its shims."""
    run(starter, orders(tmp_path / "warm", "1000.1", "true"))
    (found,) = (
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "--nursery" in child.cmdline()
    )
    until(lambda: len(found.children()) == 1, "one shim waits")
    return found, [child.pid for child in found.children()]


def test_a_job_inherits_its_log_alone(starter, tmp_path, until):
    """
    No job holds the pipe to the worker, through which it could speak for its shim: not even
    one whose shim had to be forked while its message was at hand, the waiting one being dead.
    """
    process, shims = nursery_of(starter, tmp_path, until)
    process.suspend()
    for pid in shims:
        os.kill(pid, signal.SIGKILL)
    until(lambda: psutil.Process(process.pid).children() == [], "the shim that waited is gone")
    pipe = starter.start(orders(tmp_path / "a", "1.1", "ls -l /proc/self/fd"))
    process.resume()
    hear(pipe)
    os.close(pipe)

    listed = (tmp_path / "a" / "output.log").read_text()
    assert listed.count("->") == 4, "standard streams, and the folder that ls reads"
    assert "pipe:" not in listed
    assert "socket:" not in listed


@pytest.fixture
def patience(monkeypatch):
    """Shims forked by the test serve again however slow the box is."""
    for limit in ("_NOTE_AFTER_S", "_AT_ONCE_S", "_LET_GO_S"):
        monkeypatch.setattr(supervise, limit, 60.0)


def send(line: socket.socket, path: Path) -> int:
    """Give a shim or a nursery an attempt; the reading end of its pipe."""
    reading, writing = os.pipe()
    socket.send_fds(line, [os.fsencode(path)], [writing])
    os.close(writing)
    return reading


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("gone", [False, True])
def test_a_shim_whose_worker_has_gone_serves_nobody_else(tmp_path, until, gone):
    """
    A later worker may follow it for the end of its attempt, and signal it: messages that the
    worker of before left behind are given to others.
    """
    worker, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forked = fork_server._Nursery(channel, exec_job.load_fence(str(APPLY)))
    forked._fork()
    (fd,) = forked._waiting
    pipe = send(worker, orders(tmp_path / "a", "1.1", "true"))
    forked._pass_on()
    shim = hear(pipe)["began"]["shim"]["pid"]
    assert forked._waiting == []
    if gone:
        worker.shutdown(socket.SHUT_RDWR)  # as its end; to close is not enough, the shim has a copy
    os.close(pipe)
    until(lambda: select.select([fd], [], [], 0)[0], "it has come back")
    forked._hear(fd)

    assert forked._waiting == ([] if gone else [fd])
    for line in (worker, channel, *forked._lines.values()):
        line.close()
    os.waitpid(shim, 0)


@pytest.fixture
def lone_shim(patience, monkeypatch, tmp_path):
    """
    A shim without a nursery: `serve(turns)` makes it, for so many turns, and gives its pid and
    what runs one attempt and returns its word afterwards.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    children: list[int] = []

    def serve(turns: int) -> tuple[int, Callable[[], bytes]]:
        monkeypatch.setattr(fork_server, "_MOST_TURNS", turns)
        child = os.fork()
        if child == 0:
            ours.close()
            fork_server._be_shim(theirs, exec_job.load_fence(str(APPLY)))
        theirs.close()
        children.append(child)
        return child, one_more

    def one_more() -> bytes:
        name = str(len(list(tmp_path.iterdir())) + 1)
        reading = send(ours, orders(tmp_path / name, f"{name}.1", "true"))
        hear(reading)
        os.close(reading)
        return ours.recv(1)

    yield serve
    ours.close()
    for child in children:
        os.waitpid(child, 0)


def test_a_shim_that_will_serve_no_more_does_not_offer_to(lone_shim):
    """Otherwise the nursery would give it an attempt as it leaves, and that would be lost."""
    _, run_one = lone_shim(2)
    assert [run_one(), run_one()] == [b".", b""]


def test_a_shim_does_not_grow(lone_shim):
    """Neither in memory nor in open files: it serves hundreds, and its collector is off."""
    pid, run_one = lone_shim(500)
    sizes: list[tuple[int, int]] = []
    for _ in range(2):
        for _ in range(150):
            assert run_one() == b"."
        process = psutil.Process(pid)
        sizes.append((process.memory_info().rss, process.num_fds()))
    (before, files), (after, files_after) = sizes
    assert files == files_after
    assert after - before < 256 << 10, "150 attempts leave less than 2 kB each"


# What a process hands on to its children, or is held by, as the kernel tells it.
_STATUS = ("Uid", "Gid", "Groups", "Umask", "SigBlk", "SigIgn", "SigCgt", "CapPrm", "CapEff")
_LINKS = ("cwd", "root", *(f"ns/{name}" for name in ("mnt", "user", "pid", "net", "ipc")))


def state_of(pid: int) -> dict[str, Any]:
    folder = Path(f"/proc/{pid}")
    status = dict(
        line.partition(":\t")[::2] for line in (folder / "status").read_text().splitlines()
    )
    stat = (folder / "stat").read_text().rpartition(")")[2].split()
    return {
        **{name: status.get(name) for name in _STATUS},
        **{name: (folder / name).readlink() for name in _LINKS},
        **{name: (folder / name).read_text() for name in ("limits", "cgroup", "oom_score_adj")},
        "group, session": stat[2:4],
        "priority, nice": stat[15:17],
        "environment": (folder / "environ").read_bytes(),
        "files": sorted(str(fd.readlink()).partition("[")[0] for fd in (folder / "fd").iterdir()),
        "timers": (folder / "timers").read_text(),
    }


GREEDY = """
umask 077; cd /; ulimit -n 50; ulimit -c 0; trap '' TERM HUP; echo 900 > /proc/self/oom_score_adj
renice 7 $$ > /dev/null; echo "$(id -u) $(id -g) $(id -G)" """
SOBER = """
umask; ulimit -n; nice; cat /proc/self/oom_score_adj
grep -E 'Sig(Blk|Ign)' /proc/self/status; echo "$(id -u) $(id -g) $(id -G)" """


def test_nothing_of_an_attempt_stays_in_its_shim(starter, tmp_path, until):
    """
    Whatever jobs of several users do to themselves, a shim that served them is the process it
    was: user, groups, limits, signals, files, namespaces. Jobs of later attempts begin alike,
    each as its own user.
    """
    users = [(os.geteuid(), os.getegid(), os.getgroups())]
    if os.geteuid() == 0:
        users += [(40001, 40001, [40001, 40005]), (40002, 40002, [40002])]
    states: dict[int, dict[str, Any]] = {}
    sober: dict[int, set[str]] = {}
    turns: dict[int, int] = {}
    number = 0
    deadline = time.monotonic() + 60
    while max(turns.values(), default=0) < 12:
        assert time.monotonic() < deadline
        number += 1
        uid, gid, groups = users[number % len(users)]
        script = GREEDY if number // len(users) % 2 else SOBER
        more = {"uid": uid, "gid": gid, "groups": groups, "cwd": "/"}
        path = orders(tmp_path / str(number), f"{number}.1", script, more)
        pipe = starter.start(path)
        heard = hear(pipe)
        until((path.parent / "exit.json").exists, "the end is written down")
        if not (path.parent / "shim.json").exists():  # else it took long: its shim leaves
            shim = heard["began"]["shim"]["pid"]
            turns[shim] = turns.get(shim, 0) + 1
            state = state_of(shim)
            assert states.setdefault(shim, state) == state
        os.close(pipe)
        log = (path.parent / "output.log").read_text()
        told = log.splitlines()[-1].split()
        assert told[:2] == [str(uid), str(gid)], log
        assert set(map(int, told[2:])) == {gid, *groups}
        if script is SOBER:
            sober.setdefault(uid, set()).add(log)
    assert all(len(logs) == 1 for logs in sober.values()), sober


def test_a_shim_at_another_attempt_is_not_taken_for_the_first_ones(lone_shim, tmp_path):
    """
    A user may take away the record of an attempt that is over. Its shim may be at somebody
    else's by then, and a worker that starts anew must neither follow nor signal it.
    """
    pid, run_one = lone_shim(5)
    assert (run_one(), run_one()) == (b".", b".")
    first = RunDir(str(tmp_path / "1"), "1.1")
    assert first.look().kind == "ended"

    (tmp_path / "1" / "exit.json").unlink()

    assert json.loads((tmp_path / "1" / "started").read_text())["pid"] == pid
    assert psutil.pid_exists(pid)
    found = first.look()
    assert (found.kind, found.shim) == ("lost", None)
