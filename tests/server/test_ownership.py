"""A database and the run directories beside it: they go together, or the server says how to go on."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.server.daemons import START_S, Daemon, submit

from berth_server.backup import copy_database


@pytest.fixture
def server(home: Path, until) -> Iterator[Daemon]:
    """A server that has taken three jobs, two of which have run directories."""
    daemon = Daemon(home)
    daemon.start()
    try:
        until(daemon.ready, "it is up", START_S)
        for number in range(3):
            job = submit(daemon, gpus=0)
            if number < 2:
                (home / "runs" / str(job) / "1").mkdir(parents=True, exist_ok=True)
        yield daemon
    finally:
        daemon.close()


def stop(server: Daemon) -> None:
    assert server.process is not None
    server.process.terminate()
    server.process.wait(30)


def refused(server: Daemon) -> str:
    """Start the server, which is to refuse; what it says."""
    _, said = server.start().communicate(timeout=START_S)
    assert server.process.returncode == 2
    text = said.decode()
    assert text.count("\n") == 1, text
    return text


def remove(home: Path) -> None:
    for path in home.glob("berth.db*"):
        path.unlink()


@pytest.mark.parametrize("how", ["removed", "emptied", "new"])
def test_an_emptied_database_beside_run_directories_is_refused(server, until, how):
    """It would give out ids whose records lie there; the sentence names both ways on."""
    stop(server)
    remove(server.home)
    if how == "emptied":
        (server.home / "berth.db").touch()
    if how == "new":
        shutil.move(server.home / "runs", server.home / "kept")
        server.start()
        until(server.ready, "it is up", START_S)
        stop(server)
        shutil.rmtree(server.home / "runs")
        shutil.move(server.home / "kept", server.home / "runs")
    said = refused(server)
    assert "backup" in said
    assert f"mv {server.home}/runs {server.home}/runs.old" in said


def test_started_anew_after_the_move_that_the_sentence_names(server, until):
    """With the run directories moved away the ids begin at 1 again."""
    stop(server)
    remove(server.home)
    shutil.move(server.home / "runs", server.home / "runs.old")
    server.start()
    until(server.ready, "it is up", START_S)
    assert submit(server, gpus=0) == 1


def test_the_database_of_another_home_is_refused(server, tmp_path, until):
    """Its jobs are others; a copy of the home's own is taken."""
    stop(server)
    copy_database(server.home / "berth.db", tmp_path / "own.db")
    with closing(sqlite3.connect(server.home / "berth.db")) as connection:
        connection.execute("PRAGMA application_id = 12345")
    assert "not the database of the jobs" in refused(server)
    remove(server.home)
    shutil.copy(tmp_path / "own.db", server.home / "berth.db")
    server.start()
    until(server.ready, "it is up", START_S)


def test_ids_go_on_from_the_highest_run_directory(server, tmp_path, until):
    """After a restore of an older copy a new job gets no id that was given out since."""
    copy_database(server.home / "berth.db", tmp_path / "old.db")
    later = submit(server, gpus=0)
    (server.home / "runs" / str(later) / "1").mkdir(parents=True, exist_ok=True)
    (server.home / "runs" / "not a job").mkdir()
    (server.home / "runs" / ("9" * 30)).mkdir()
    stop(server)
    remove(server.home)
    shutil.copy(tmp_path / "old.db", server.home / "berth.db")
    server.start()
    until(server.ready, "it is up", START_S)
    assert submit(server, gpus=0) == later + 1


def test_a_database_of_the_version_before_is_taken(server, until):
    """It carries no number yet, and its run directories have no note."""
    stop(server)
    (server.home / "runs" / ".database").unlink()
    with closing(sqlite3.connect(server.home / "berth.db")) as connection:
        connection.execute("PRAGMA application_id = 0")
    server.start()
    until(server.ready, "it is up", START_S)
    assert (server.home / "runs" / ".database").read_text().strip() != "0"
