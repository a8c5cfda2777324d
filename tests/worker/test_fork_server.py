"""Shims of the fork server, fresh and used again, under load, kills and several users."""

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


def hear(line: int) -> dict[str, Any]:
    """Messages of a shim up to its end, by word."""
    heard = b""
    deadline = time.monotonic() + 20
    while b"ended " not in heard or not heard.endswith(b"\n"):
        assert select.select([line], [], [], max(0.0, deadline - time.monotonic()))[0], heard
        chunk = os.read(line, 65536)
        assert chunk, heard
        heard += chunk
    messages = (message.partition(" ") for message in heard.decode().splitlines())
    return {word: json.loads(text) for word, _, text in messages}


def run(starter: ShimLauncher, path: Path) -> dict[str, Any]:
    """Run an attempt to its end, and let its shim go."""
    line = starter.start(path)
    try:
        return hear(line)
    finally:
        os.close(line)


def run_and_return(starter: ShimLauncher, path: Path) -> dict[str, Any]:
    """Run an attempt to its end and give its shim back, once that is free or gone."""
    line = starter.start(path)
    heard = hear(line)
    assert select.select([line], [], [], 20)[0], "the shim is neither free nor gone"
    starter.give_back(line)
    return heard


@pytest.mark.parametrize("used_again", [False, True])
def test_what_an_attempt_has_is_its_own(starter, tmp_path, until, used_again):
    """Record, log and environment are the attempt's own, also in a shim that served others."""
    shims: set[int] = set()
    run_it = run_and_return if used_again else run
    for number in range(1, 13):
        folder = tmp_path / str(number)
        script = f'echo "$MARK"; umask; pwd; exit {number}'
        heard = run_it(starter, orders(folder, f"{number}.1", script, MARK=f"mark {number}"))
        shims.add(heard["began"]["shim"]["pid"])
        assert heard["ended"]["attempt"] == f"{number}.1"
        assert (heard["ended"]["cause"], heard["ended"]["exit_code"]) == ("exit", number)
        assert (folder / "output.log").read_text() == f"mark {number}\n0022\n{folder}\n"
        until((folder / "exit.json").exists, "its end is recorded")
        for name in ("started", "exit.json"):
            assert json.loads((folder / name).read_text())["attempt"] == f"{number}.1"
    assert len(shims) < 12 if used_again else len(shims) == 12
    starter.close()
    until(lambda: not any(map(psutil.pid_exists, shims)), "every shim has exited")


@pytest.mark.parametrize("script", ["sleep 0.3", "exec sleep 60"])
def test_a_shim_whose_job_lasted_serves_no_other(starter, tmp_path, until, script):
    """A shim that has adjusted itself, or ended its job, exits with it; given back, it is dropped."""
    line = starter.start(orders(tmp_path / "a", "1.1", script))
    claim = tmp_path / "a" / "started"
    until(claim.exists, "it is claimed")
    shim = json.loads(claim.read_text())["pid"]
    if script == "exec sleep 60":
        os.kill(shim, signal.SIGTERM)
    hear(line)
    starter.give_back(line)
    until(lambda: not psutil.pid_exists(shim), "the shim has exited")
    assert run(starter, orders(tmp_path / "b", "2.1", "true"))["began"]["shim"]["pid"] != shim


def test_a_late_signal_does_not_reach_the_next_attempt(starter, tmp_path):
    """What was sent to a shim before it got another attempt was not meant for that one."""
    first = run_and_return(starter, orders(tmp_path / "a", "1.1", "true"))
    shim = first["began"]["shim"]["pid"]
    os.kill(shim, signal.SIGTERM)
    second = run_and_return(starter, orders(tmp_path / "b", "2.1", "true"))
    assert second["began"]["shim"]["pid"] == shim
    assert (second["ended"]["cause"], second["ended"]["exit_code"]) == ("exit", 0)


def test_a_dead_free_shim_is_passed_over(starter, tmp_path, until):
    """Whatever kills a shim that waits for another attempt, the next attempt gets a living one."""
    first = run_and_return(starter, orders(tmp_path / "a", "1.1", "true"))
    shim = first["began"]["shim"]["pid"]
    os.kill(shim, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(shim), "it is dead")
    path = orders(tmp_path / "b", "2.1", "true")
    line = starter.start(path)
    assert select.select([line], [], [], 20)[0]
    if os.read(line, 1) == b"":  # it had said that it was free: the worker starts it directly
        os.close(line)
        assert not (path.parent / "started").exists()
        line = starter.start(path, directly=True)
    assert hear(line)["ended"]["exit_code"] == 0
    os.close(line)


def test_idle_shims_exit_after_a_second(starter, tmp_path, until):
    """A shim that no attempt needs for a second is let go."""
    first = run_and_return(starter, orders(tmp_path / "a", "1.1", "true"))
    shim = first["began"]["shim"]["pid"]

    def is_gone() -> bool:
        starter.trim()
        return not psutil.pid_exists(shim)

    assert not is_gone()
    until(is_gone, "it has exited")
    assert run(starter, orders(tmp_path / "b", "2.1", "true"))["ended"]["exit_code"] == 0


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
    line = starter.start(path)
    until((path.parent / "started").exists, "it is claimed")
    shim = json.loads((path.parent / "started").read_text())["pid"]
    os.kill(shim, signal.SIGTERM)
    ended = hear(line)["ended"]
    os.close(line)

    assert (ended["cause"], ended["exit_code"]) == ("stopped", None)
    until(lambda: not psutil.pid_exists(shim), "the shim has exited")
    second = run(starter, orders(tmp_path / "b", "2.1", "true"))
    assert (second["ended"]["cause"], second["ended"]["exit_code"]) == ("exit", 0)


def test_after_a_rush_one_shim_waits(starter, tmp_path, until):
    """Attempts side by side have shims side by side; afterwards one waits for the next."""
    server, _ = server_of(starter, tmp_path, until)
    paths = [orders(tmp_path / str(n), f"{n}.1", "sleep 0.02") for n in range(8)]
    lines = [starter.start(path) for path in paths]
    shims = {hear(line)["began"]["shim"]["pid"] for line in lines}
    for line in lines:
        os.close(line)

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
    No job holds the line to the worker, through which it could speak for its shim: not even
    one whose shim was forked while the message was in hand, the waiting shim being dead.
    """
    process, shims = server_of(starter, tmp_path, until)
    process.suspend()
    for pid in shims:
        os.kill(pid, signal.SIGKILL)
    until(lambda: psutil.Process(process.pid).children() == [], "the shim that waited is gone")
    line = starter.start(orders(tmp_path / "a", "1.1", "ls -l /proc/self/fd"))
    process.resume()
    hear(line)
    os.close(line)

    listed = (tmp_path / "a" / "output.log").read_text()
    assert listed.count("->") == 4, "standard streams, and the folder that ls reads"
    assert "pipe:" not in listed
    assert "socket:" not in listed


def test_kills_of_waiting_shims_lose_no_attempt(starter, tmp_path, until):
    """
    Whenever a waiting shim is killed, the attempt runs once: another shim gets it, or the line
    closes without a word and a direct start is safe.
    """
    server, _ = server_of(starter, tmp_path, until)
    for number in range(20):
        path = orders(tmp_path / str(number), f"{number}.1", "echo once >> marks")
        waiting = server.children()
        line = starter.start(path)
        time.sleep(number * 0.0002)
        if not (path.parent / "started").exists():
            for shim in waiting:
                with contextlib.suppress(psutil.NoSuchProcess):
                    shim.kill()
        assert select.select([line], [], [], 20)[0], "the line neither speaks nor closes"
        if os.read(line, 1) == b"":
            os.close(line)
            if (path.parent / "started").exists():  # killed after its claim: lost, not repeated
                continue
            line = starter.start(path, directly=True)
        hear(line)
        os.close(line)
        assert (path.parent / "marks").read_text() == "once\n"


GREEDY = """
umask 077; cd /; ulimit -n 50; ulimit -c 0; trap '' TERM HUP; echo 900 > /proc/self/oom_score_adj
renice 7 $$ > /dev/null; echo "$(id -u) $(id -g) $(id -G)" """
SOBER = """
umask; ulimit -n; nice; cat /proc/self/oom_score_adj
grep -E 'Sig(Blk|Ign)' /proc/self/status; echo "$(id -u) $(id -g) $(id -G)" """


@pytest.mark.parametrize("run_it", [run, run_and_return])
def test_jobs_of_several_users_begin_alike(starter, tmp_path, run_it):
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
        run_it(starter, path)
        log = (path.parent / "output.log").read_text()
        shown = log.splitlines()[-1].split()
        assert shown[:2] == [str(uid), str(gid)], log
        assert set(map(int, shown[2:])) == {gid, *groups}
        if script is SOBER:
            sober.setdefault(uid, set()).add(log)
    assert all(len(logs) == 1 for logs in sober.values()), sober
