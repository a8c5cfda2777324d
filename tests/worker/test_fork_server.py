"""The fork server gives every attempt a fresh shim, under load, kills and several users."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from berth_worker.fence import APPLY
from berth_worker.launch import ShimLauncher


@pytest.fixture
def starter() -> Iterator[ShimLauncher]:
    found = ShimLauncher()
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
    """Messages of a shim up to its end, by word."""
    heard = b""
    deadline = time.monotonic() + 20
    while b"ended " not in heard or not heard.endswith(b"\n"):
        assert select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0], heard
        chunk = os.read(pipe, 65536)
        assert chunk, heard
        heard += chunk
    lines = (line.partition(" ") for line in heard.decode().splitlines())
    return {word: json.loads(text) for word, _, text in lines}


def run(starter: ShimLauncher, path: Path) -> dict[str, Any]:
    """Run an attempt to its end, as the worker does."""
    pipe = starter.start(path)
    try:
        return hear(pipe)
    finally:
        os.close(pipe)


def test_every_attempt_has_a_shim_of_its_own(starter, tmp_path, until):
    """Record, log and environment are the attempt's own; its shim exits with it."""
    shims: set[int] = set()
    for number in range(1, 13):
        folder = tmp_path / str(number)
        script = f'echo "$MARK"; umask; exit {number}'
        heard = run(starter, orders(folder, f"{number}.1", script, MARK=f"mark {number}"))
        shims.add(heard["began"]["shim"]["pid"])
        assert heard["ended"]["attempt"] == f"{number}.1"
        assert (heard["ended"]["cause"], heard["ended"]["exit_code"]) == ("exit", number)
        assert (folder / "output.log").read_text() == f"mark {number}\n0022\n"
        assert json.loads((folder / "started").read_text())["attempt"] == f"{number}.1"
    assert len(shims) == 12
    until(lambda: not any(map(psutil.pid_exists, shims)), "every shim has exited")


@pytest.mark.parametrize(
    "script", ["sleep 0.3", "sleep 60 & exit 0", "(setsid env -i sleep 60 > /dev/null &) & exit 0"]
)
def test_a_shim_exits_with_its_job(starter, tmp_path, until, script):
    """However the job leaves its processes behind, its shim ends them and exits."""
    first = run(starter, orders(tmp_path / "a", "1.1", script))
    shim = first["began"]["shim"]["pid"]
    until(lambda: not psutil.pid_exists(shim), "the shim has left")


def test_an_early_stop_stops_this_attempt_alone(starter, tmp_path, until):
    """A stop sent as soon as the attempt is claimed ends it, and no later attempt."""
    path = orders(tmp_path / "a", "1.1", "exec sleep 60")
    pipe = starter.start(path)
    until((path.parent / "started").exists, "it is claimed")
    shim = json.loads((path.parent / "started").read_text())["pid"]
    os.kill(shim, signal.SIGTERM)
    ended = hear(pipe)["ended"]
    os.close(pipe)

    assert (ended["cause"], ended["exit_code"]) == ("stopped", None)
    until(lambda: not psutil.pid_exists(shim), "the shim has exited")
    second = run(starter, orders(tmp_path / "b", "2.1", "true"))
    assert (second["ended"]["cause"], second["ended"]["exit_code"]) == ("exit", 0)


def test_after_a_rush_one_shim_waits(starter, tmp_path, until):
    """Attempts side by side have shims side by side; afterwards one waits for the next."""
    server, _ = server_of(starter, tmp_path, until)
    paths = [orders(tmp_path / str(n), f"{n}.1", "sleep 0.02") for n in range(8)]
    pipes = [starter.start(path) for path in paths]
    shims = {hear(pipe)["began"]["shim"]["pid"] for pipe in pipes}
    for pipe in pipes:
        os.close(pipe)

    assert len(shims) == 8

    until(lambda: not any(map(psutil.pid_exists, shims)), "all of them have exited")
    until(lambda: len(server.children()) == 1, "one waits")
    assert run(starter, orders(tmp_path / "z", "99.1", "true"))["ended"]["exit_code"] == 0


def server_of(
    starter: ShimLauncher, tmp_path: Path, until: Any
) -> tuple[psutil.Process, list[int]]:
    """The fork server, in which one shim waits, and the pid of that shim."""
    run(starter, orders(tmp_path / "warm", "1000.1", "true"))
    (found,) = (
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "--fork-server" in child.cmdline()
    )
    until(lambda: len(found.children()) == 1, "one shim waits")
    return found, [child.pid for child in found.children()]


def test_a_job_inherits_its_log_alone(starter, tmp_path, until):
    """
    No job holds the pipe to the worker, through which it could speak for its shim: not even
    one whose shim was forked while the message was in hand, the waiting shim being dead.
    """
    process, shims = server_of(starter, tmp_path, until)
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


def test_kills_of_waiting_shims_lose_no_attempt(starter, tmp_path, until):
    """
    Whenever a waiting shim is killed, the attempt runs once: another shim gets it, or the pipe
    closes without a word and a direct start is safe.
    """
    server, _ = server_of(starter, tmp_path, until)
    for number in range(20):
        path = orders(tmp_path / str(number), f"{number}.1", "echo once >> marks")
        waiting = server.children()
        pipe = starter.start(path)
        time.sleep(number * 0.0002)
        if not (path.parent / "started").exists():
            for shim in waiting:
                with contextlib.suppress(psutil.NoSuchProcess):
                    shim.kill()
        assert select.select([pipe], [], [], 20)[0], "the pipe neither speaks nor closes"
        if os.read(pipe, 1) == b"":
            os.close(pipe)
            if (path.parent / "started").exists():  # killed after its claim: lost, not repeated
                continue
            pipe = starter.start(path, directly=True)
        hear(pipe)
        os.close(pipe)
        assert (path.parent / "marks").read_text() == "once\n"


GREEDY = """
umask 077; cd /; ulimit -n 50; ulimit -c 0; trap '' TERM HUP; echo 900 > /proc/self/oom_score_adj
renice 7 $$ > /dev/null; echo "$(id -u) $(id -g) $(id -G)" """
SOBER = """
umask; ulimit -n; nice; cat /proc/self/oom_score_adj
grep -E 'Sig(Blk|Ign)' /proc/self/status; echo "$(id -u) $(id -g) $(id -G)" """


def test_jobs_of_several_users_begin_alike(starter, tmp_path):
    """
    Whatever earlier jobs of other users did to themselves, each job begins with the same limits,
    signals and umask, as its own user and groups.
    """
    users = [(os.geteuid(), os.getegid(), os.getgroups())]
    if os.geteuid() == 0:
        users += [(40001, 40001, [40001, 40005]), (40002, 40002, [40002])]
    sober: dict[int, set[str]] = {}
    for number in range(8 * len(users)):
        uid, gid, groups = users[number % len(users)]
        script = GREEDY if number // len(users) % 2 else SOBER
        more = {"uid": uid, "gid": gid, "groups": groups, "cwd": "/"}
        path = orders(tmp_path / str(number), f"{number}.1", script, more)
        run(starter, path)
        log = (path.parent / "output.log").read_text()
        shown = log.splitlines()[-1].split()
        assert shown[:2] == [str(uid), str(gid)], log
        assert set(map(int, shown[2:])) == {gid, *groups}
        if script is SOBER:
            sober.setdefault(uid, set()).add(log)
    assert all(len(logs) == 1 for logs in sober.values()), sober
