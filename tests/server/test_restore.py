"""Copies of the database: made whole or not at all, put back only where they belong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from berth.daemons.identity import boot_id, of
from berth.daemons.lock import Lock
from berth.home import Home
from berth_server import backup, restore
from berth_server.service.restore.adopt import take_in
from berth_server.store import migrate, ownership
from berth_server.store.database import Database

GONE = {"pid": 0, "start_ticks": 0, "boot_id": ""}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Path:
    """A database without a job."""
    path = tmp_path_factory.mktemp("migrated") / "berth.db"
    migrate.upgrade(path)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch, migrated) -> Home:
    """A home whose database has given out the ids 1 to 3, and has run none of them."""
    made = Home(tmp_path / "home")
    made.make()
    monkeypatch.setenv("BERTH_HOME", str(made.folder))
    shutil.copy(migrated, made.database)
    ownership.take(made.database, made.runs)
    with closing(sqlite3.connect(made.database)) as connection:
        for job_id in (1, 2, 3):
            connection.execute(
                "INSERT INTO jobs (id, spec, name, command_text, notifies, state, user, uid, "
                "warnings, queued_at, attempts, failures, oom_steps) VALUES "
                """(?, '{"command":"true","gpus":1,"workdir":"/"}', 'x', 'true', 0, 'queued',"""
                "'ada', 1000, '[]', 1.0, 0, 0, 0)",
                (job_id,),
            )
        connection.commit()
    return made


@pytest.fixture
def copy(home, tmp_path) -> Path:
    path = tmp_path / "copy.db"
    backup.copy_database(home.database, path)
    return path


def left(home: Home, job_id: int, number: int = 1, gpus: tuple[int, ...] = (0,), **records: Any):
    """Leave a run directory as a worker and a shim do."""
    folder = home.runs / str(job_id) / str(number)
    folder.mkdir(parents=True)
    attempt, token = f"{job_id}.{number}", f"token-{job_id}-{number}"
    spec = {
        "attempt": attempt,
        "token": token,
        "action": "run",
        "run_dir": str(folder),
        "job_id": job_id,
        "number": number,
        "user": "ada",
        "uid": 1000,
        "command": "python train.py",
        "workdir": "/",
        "gpus": [{"uuid": f"GPU-{i}", "index": i} for i in gpus],
        "master_port": 29600 + job_id if gpus else None,
        "grace": "60s",
        "warn_before": "120s",
    }
    (folder / "spec.json").write_text(json.dumps(spec | records.pop("spec", {})))
    for name, content in records.items():
        if content is not None:
            facts = {"attempt": attempt, "token": token, **content}
            (folder / name.replace("_", ".")).write_text(json.dumps(facts))
    return folder


def me() -> dict[str, Any]:
    who = of(os.getpid())
    assert who is not None
    return {"pid": who.pid, "start_ticks": who.start_ticks, "boot_id": boot_id()}


def ended(code: int | None = 0, **more: Any) -> dict[str, Any]:
    at = "2026-11-30T12:00:00.000Z"
    return {"exit_code": code, "cause": "exit", "started_at": at, "ended_at": at, **more}


def taken_in(home: Home) -> dict[int, tuple[Any, ...]]:
    """Take in as a server's start does; state, attempts, exit code and unreleased GPUs by job."""
    db = Database(home.database)
    try:
        take_in(db, home.runs, 2e9)
        gpus: dict[int, set[str]] = {}
        for job_id, uuid in db.read.all(
            "SELECT job_id, gpu_uuid FROM leases WHERE released_at IS NULL"
        ):
            gpus.setdefault(job_id, set()).add(uuid)
        return {
            job_id: (state, attempts, code, gpus.get(job_id, set()))
            for job_id, state, attempts, code in db.read.all(
                "SELECT id, state, attempts, exit_code FROM jobs"
            )
        }
    finally:
        db.close()


def test_a_copy_is_its_owners_alone_and_never_replaces_another(home, copy, tmp_path, capsys):
    """It is one whole file; a second one under its name is refused, and nothing is left of it."""
    assert copy.stat().st_mode & 0o777 == 0o600
    content = copy.read_bytes()
    assert backup.main([str(copy)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert copy.read_bytes() == content
    assert backup.main([str(tmp_path)]) == 0
    assert backup.main([str(tmp_path / "no" / "x.db")]) == 2
    made = [path.name for path in tmp_path.iterdir() if path.suffix != ".db"]
    assert made == ["home"]


def test_a_damaged_database_gives_no_copy(home, tmp_path, capsys):
    """What cannot be put back is not kept as if it could."""
    raw = bytearray(home.database.read_bytes())
    raw[8192:20480] = b"\xff" * 12288
    home.database.write_bytes(raw)
    assert backup.main([str(tmp_path / "copy.db")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("wrong", ["foreign", "damaged", "text", "empty", "absent", "own", "newer"])
def test_what_is_no_copy_of_this_home_is_refused(home, copy, tmp_path, capsys, wrong):
    """In one sentence, and nothing is changed."""
    left(home, 1, started=GONE)
    path = tmp_path / wrong
    if wrong in {"foreign", "newer"}:
        shutil.copy(copy, path)
        with closing(sqlite3.connect(path)) as connection:
            if wrong == "foreign":
                connection.execute("PRAGMA application_id = 77")
            else:
                connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
    elif wrong == "damaged":
        raw = bytearray(copy.read_bytes())
        raw[8192:20480] = b"\xff" * 12288
        path.write_bytes(raw)
    elif wrong in {"text", "empty"}:
        path.write_text("no database " * 1000 * (wrong == "text"))
    elif wrong == "own":
        path = home.database
    before = home.database.read_bytes()
    for words in ([str(path)], ["--dry-run", str(path)]):
        assert restore.main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
    assert home.database.read_bytes() == before
    assert sorted(one.name for one in home.folder.glob("berth.db*")) == ["berth.db"]


def test_nothing_is_put_back_under_a_running_server(home, copy, capsys):
    """A dry run is answered meanwhile."""
    lock = Lock(home.pid("server"))
    assert lock.take()
    try:
        assert restore.main([str(copy)]) == 2
        assert "berth down" in capsys.readouterr().err
        assert restore.main(["--dry-run", str(copy)]) == 0
    finally:
        lock.release()


def test_the_database_that_was_there_is_kept_with_its_log(home, copy, capsys):
    """Also what is only in its write-ahead log."""
    connection = sqlite3.connect(home.database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE jobs SET name = 'later' WHERE id = 3")
    connection.commit()
    assert restore.main(["--json", str(copy)]) == 0
    kept = json.loads(capsys.readouterr().out)["kept"]
    connection.close()
    with closing(sqlite3.connect(kept)) as there:
        assert there.execute("SELECT name FROM jobs WHERE id = 3").fetchone() == ("later",)
    with closing(sqlite3.connect(home.database)) as there:
        assert there.execute("SELECT name FROM jobs WHERE id = 3").fetchone() == ("x",)


def test_attempts_are_taken_over_as_what_they_are(home):
    """Running, ended, failed and tried again, lost: known jobs and unknown ones."""
    left(home, 1, started=me(), shim_json={"started_at": "2026-11-30T12:00:00Z"})
    left(home, 2, 1, started=GONE, exit_json=ended(4))
    left(home, 2, 2, (1, 2), started=me())
    left(home, 7, 1, (3,), started=GONE, exit_json=ended(9))
    left(home, 8, 1, (4,), started=GONE)
    left(home, 9, 1, (5,), started=GONE | {"refused": True})
    assert taken_in(home) == {
        1: ("running", 1, None, {"GPU-0"}),
        2: ("starting", 2, None, {"GPU-1", "GPU-2"}),
        3: ("queued", 0, None, set()),
        7: ("failed", 1, 9, set()),
        8: ("starting", 1, None, {"GPU-4"}),  # lost: the worker ends its processes and says so
        9: ("stopping", 1, None, {"GPU-5"}),  # never started: the worker says so
    }
    assert taken_in(home)[2] == ("starting", 2, None, {"GPU-1", "GPU-2"}), "once only"


def test_a_later_holder_proves_that_the_one_before_has_ended(home):
    """The copy knows a job to be running on a GPU on which another one runs now."""
    left(home, 1, started=GONE, exit_json=ended(3))
    assert taken_in(home)[1][:3] == ("failed", 1, 3)
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("UPDATE jobs SET state = 'running', ended_at = NULL WHERE id = 1")
        connection.execute(
            "UPDATE attempts SET state = 'running', ended_at = NULL, released_at = NULL"
        )
        connection.execute("UPDATE leases SET released_at = NULL WHERE 0")
        connection.execute(
            "INSERT INTO leases (gpu_uuid, job_id, number, acquired_at) VALUES ('GPU-0', 1, 1, 1)"
        )
        connection.commit()
    left(home, 5, started=me())
    found = taken_in(home)
    assert found[1] == ("failed", 1, 3, set())
    assert found[5] == ("starting", 1, None, {"GPU-0"})


HOSTILE = {
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "deep": lambda path: path.write_text("[" * 100_000),
    "long": lambda path: path.write_bytes(b"{" + b" " * (65 << 20)),
    "digits": lambda path: path.write_text('{"job_id": ' + "9" * 5000 + "}"),
    "surrogate": lambda path: path.write_text('{"attempt": "\\ud800"}'),
    "bytes": lambda path: path.write_bytes(os.urandom(4096)),
    "list": lambda path: path.write_text("[1, 2]"),
    "empty": lambda path: path.touch(),
}
FILES = ("spec.json", "launch.json", "started", "shim.json", "exit.json", "stop.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_lies_in_a_records_place_the_start_goes_on(home, what, name):
    """Its number is not given out again; a job that is known still waits or has ended."""
    folder = left(home, 2, 3, started=GONE, exit_json=ended(0))
    (folder / name).unlink(missing_ok=True)
    HOSTILE[what](folder / name)
    state, attempts, *_ = taken_in(home)[2]
    assert attempts == 3
    assert state in {"queued", "succeeded", "starting"}


def test_records_of_another_attempt_are_not_believed(home):
    """Nor is a folder that a job's user owns."""
    left(home, 2, exit_json=ended(0) | {"token": "another"})
    folder = left(home, 3, exit_json=ended(0))
    if os.geteuid() == 0:
        for path in folder.iterdir():
            os.chown(path, 65_534, 65_534)
        found = taken_in(home)
        assert found[3][:2] == ("queued", 1)
    assert taken_in(home)[2][:2] == ("queued", 1)
