"""A copy of the database is put back while jobs run: nothing is lost, nothing runs twice."""

from __future__ import annotations

import collections
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


class Lab:
    """A box whose jobs leave a mark at each start and end when a file of theirs appears."""

    def __init__(self, box, folder: Path, until) -> None:
        self.box = box
        self.folder = folder
        self.until = until
        self.marks = folder / "marks"
        self.marks.touch()

    def submit(self, name: str, code: int = 0, *, gpus: int = 1, **spec: Any) -> int:
        script = (
            f'echo "$BERTH_ATTEMPT" >> {self.marks}\n'
            f"while [ ! -e {self.folder}/{name} ]; do sleep 0.05; done\nexit {code}"
        )
        return self.box.submit(script=script, gpus=gpus, **spec)

    def let_end(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def live_on(self) -> tuple[int, int, int, int]:
        """One job comes and goes, one runs, one is cancelled, one waits and never starts."""
        self.let_end("gone")
        gone = self.submit("gone", 6, gpus=0)
        self.box.wait(gone)
        going, cancelled = self.submit("going", 7, gpus=0), self.submit("never", gpus=0)
        self.running(going, cancelled)
        self.box.post(f"/jobs/{cancelled}/cancel")
        self.box.wait(cancelled)
        return gone, going, cancelled, self.submit("never", gpus=0, hold=True)

    def starts(self) -> collections.Counter[str]:
        return collections.Counter(self.marks.read_text().split())

    def running(self, *ids: int) -> None:
        self.box.wait(*ids, state={"running"})
        self.until(lambda: {f"{i}.1" for i in ids} <= set(self.starts()), "their first line ran")

    def berth(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "berth.cli.main", *words],
            env=self.box.env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def restore(self, *words: str) -> dict[str, Any]:
        done = self.berth("restore", "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def lab(box, tmp_path, until):
    return Lab(box, tmp_path, until)


def rows(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home}/berth.db?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def test_a_copy_from_before_is_put_back_while_jobs_run(lab, tmp_path):
    """
    Running attempts unknown to the copy go on and end with their own codes, ended ones keep their
    ends, none is started again, and no id or number is given out twice.
    """
    box = lab.box
    lab.let_end("early")
    early = lab.submit("early", 4)
    old = lab.submit("old", 3, gpus=8)
    box.wait(early)
    lab.running(old)
    behind = lab.submit("behind", 5, gpus=8)  # waits for all GPUs
    copy = tmp_path / "copy.db"
    assert lab.berth("backup", str(copy)).returncode == 0
    assert copy.stat().st_mode & 0o777 == 0o600

    lab.let_end("old")
    box.wait(old)
    lab.running(behind)  # on the GPUs that the copy knows to be the old one's
    assert box.post(f"/jobs/{early}/retry").status_code == 200
    gone, going, cancelled, never = lab.live_on()

    refused = lab.berth("restore", str(copy))
    assert refused.returncode == 4
    assert "berth down" in refused.stderr
    box.kill("server", "worker")
    seen = lab.restore("--dry-run", str(copy))
    assert seen["going_on"] == [f"{behind}.1", f"{going}.1"]
    assert set(seen["ended"]) == {f"{gone}.1", f"{cancelled}.1"}
    assert seen["lost"] == [never]
    assert seen["next_id"] == never + 1
    assert lab.restore(str(copy))["kept"]
    box.start()

    assert box.job(going)["state"] == "running"
    assert box.job(behind)["state"] == "running"
    (ended,) = box.wait(old)
    assert ended["exit_code"] == 3
    jobs = {one: box.job(one) for one in (gone, cancelled)}
    assert (jobs[gone]["state"], jobs[gone]["exit_code"]) == ("failed", 6)
    assert jobs[cancelled]["state"] == "cancelled"
    held = rows(box.home, "SELECT job_id, gpu_uuid FROM leases WHERE released_at IS NULL")
    assert {job for job, _ in held} == {behind}
    assert len(held) == 8
    lab.let_end("going", "behind")
    ends = [job["exit_code"] for job in box.wait(going, behind)]
    assert ends == [7, 5]
    fresh = lab.submit("early", gpus=1)
    assert fresh == never + 1
    box.wait(fresh)
    assert set(lab.starts().values()) == {1}
    assert rows(box.home, "PRAGMA user_version") == [(0,)]


def test_a_lost_database_is_rebuilt_from_the_run_directories(lab):
    """Without any copy what runs goes on, and ends as it does; a start without it is refused."""
    box = lab.box
    share = {"share": True, "gpu_memory": "10GiB"}
    running = [lab.submit("a", 2, gpus=2, env={"X": "y"}), lab.submit("b", 0, **share)]
    lab.running(*running)
    box.kill("server", "worker")
    for path in box.home.glob("berth.db*"):
        path.unlink()
    said = lab.berth("up", "--detach").stderr
    assert "berth restore" in said
    assert lab.restore("--from-runs")["going_on"] == [f"{one}.1" for one in running]
    box.start()
    assert [box.job(one)["state"] for one in running] == ["running", "running"]
    lab.let_end("a", "b")
    assert [job["exit_code"] for job in box.wait(*running)] == [2, 0]
    assert set(lab.starts().values()) == {1}
