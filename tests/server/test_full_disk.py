"""A full disk: a sentence, no process ends, and what was acknowledged stays."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from pathlib import Path

import pytest
from tests.server.daemons import SPEC, Daemon, new_home, submit

from berth.cli import startup
from berth.home import Home
from berth_server.store import disk

ROOM = 64 << 10


@pytest.fixture
def small():
    """A home on a disk of 12 MiB; needs root."""
    with new_home() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True
        )
        if mounted.returncode:
            pytest.skip("mounting needs root")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing fits; the file."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as out:
        for size in (1 << 16, 1 << 10, 1):
            with contextlib.suppress(OSError):
                while True:
                    out.write(b"\0" * size)
    return path


def test_the_server_goes_on_with_a_full_disk(small, until):
    """Database and log are on it: 503 with a sentence, also from /readyz; then all goes on."""
    daemon = Daemon(small)
    log = (small / "server.log").open("ab")
    with log:
        daemon.start(stderr=log)
    try:
        until(daemon.ready, "the server answers", 90)
        daemon.report()
        acknowledged = [submit(daemon, hold=True) for _ in range(5)]
        filler = fill(small)
        for _ in range(40):
            answer = daemon.http.post(
                "/api/v1/jobs", json=SPEC | {"hold": True, "script": "x" * 20_000, "command": None}
            )
            assert answer.status_code in {201, 503}
            if answer.status_code == 201:
                acknowledged.append(answer.json()["id"])
        assert answer.status_code == 503
        assert "disk is full" in answer.json()["detail"]
        ready = daemon.http.get("/readyz")
        assert ready.status_code == 503
        assert any("disk is full" in problem for problem in ready.json()["problems"])
        assert daemon.http.get("/api/v1/jobs").status_code == 200
        filler.unlink()
        acknowledged.append(submit(daemon, hold=True))

        def ready_again() -> bool:
            daemon.report()
            return daemon.http.get("/readyz").status_code == 200

        until(ready_again, "it is ready again", 20)
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        until(daemon.ready, "the server answers again", 90)
        found = {job["id"] for job in daemon.http.get("/api/v1/jobs?limit=1000").json()["jobs"]}
        assert found >= set(acknowledged)
    finally:
        daemon.close()


def test_a_start_on_a_full_disk_says_so(small):
    """Not that a log says why, which could not be written."""
    home = Home(small)
    home.make()
    fill(small)
    said = startup.refusal(home)
    assert said is not None
    assert "disk is full" in said


def test_a_server_without_a_log_goes_on(until):
    """Stderr on /dev/full: it answers, and says so."""
    with new_home() as folder:
        daemon = Daemon(folder)
        with Path("/dev/full").open("wb") as full:
            daemon.start(stderr=full)
        try:
            until(daemon.ready, "the server answers", 90)
            daemon.report()
            submit(daemon, hold=True)
            problems = daemon.http.get("/readyz").json()["problems"]
            assert any("log cannot be written" in problem for problem in problems)
        finally:
            daemon.close()


def test_a_loop_that_fails_is_run_again(desk, monkeypatch):
    """Timers, telemetry and the rest outlast a database that cannot be written for a while."""
    import anyio

    from berth_server.background import tasks

    runs = []

    async def loop(server: object) -> None:
        runs.append(server)
        if len(runs) < 3:
            raise OSError(errno.ENOSPC, "full")
        await anyio.sleep_forever()

    monkeypatch.setattr(tasks, "_PAUSE_S", 0)

    async def scene() -> None:
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(tasks._kept, loop, desk.server)
                while len(runs) < 3:
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

    anyio.run(scene)
    assert len(runs) == 3


def test_full_disks_are_known(tmp_path):
    """By errno and by SQLite's words; not every error is one."""
    assert disk.is_full(OSError(errno.EDQUOT, "x"))
    assert not disk.is_full(OSError(errno.ENOENT, "x"))
    assert disk.problem(tmp_path / "absent") is None


WRONG = {
    "berth.toml": ("listen = [", "is not valid TOML"),
    "berth.db": ("this is no database, " * 500, "cannot be opened"),
}


@pytest.mark.parametrize("name", WRONG)
def test_up_says_itself_why_a_server_does_not_start(tmp_path, name):
    """The sentence, not where to look for it."""
    content, expected = WRONG[name]
    (tmp_path / name).write_text(content)
    said = startup.refusal(Home(tmp_path))
    assert said is not None
    assert expected in said
    assert "\n" not in said


def test_a_home_that_is_well_is_not_refused(tmp_path):
    """Nor changed."""
    assert startup.refusal(Home(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
