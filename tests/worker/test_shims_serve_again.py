"""A shim whose job was over at once is given another attempt, and nothing of the first."""

from __future__ import annotations

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
from berth_worker.launch import Starter


@pytest.fixture
def starter() -> Iterator[Starter]:
    found = Starter()
    yield found
    found.close()


def orders(folder: Path, attempt: str, script: str, **env: str) -> Path:
    """A launch.json for a shell's text."""
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


@pytest.mark.parametrize("script", ["sleep 0.3", "sleep 60 & exit 0"])
def test_a_shim_of_a_job_that_stays_is_used_once(starter, tmp_path, until, script):
    """What was set up for a job that stays, or for ending one, is left to no other."""
    first = run(starter, orders(tmp_path / "a", "1.1", script))
    shim = first["began"]["shim"]["pid"]
    until(lambda: not psutil.pid_exists(shim), "the shim has left")


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
