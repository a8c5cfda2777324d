"""Code frozen at submit: what is kept, for whom, and what a job is given to run."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from berth import snapshots
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid
from berth_server.service.jobs.freeze_code import Freezer
from berth_server.service.scheduling.timers import on_start

URL = "/api/v1/jobs"
NOBODY = 65_534


def git(folder: Path, *words: str) -> str:
    """git, with an author of its own."""
    author = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(folder), *author, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A work tree with a change, a new file, and data that git ignores."""
    root = tmp_path / "twin"
    (root / "runs").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (root / ".gitignore").write_text("data/\n*.bin\n__pycache__/\n")
    (root / "runs" / "train.py").write_text("print('first')\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "begin")
    (root / "runs" / "train.py").write_text("print('second')\n")
    (root / "new.txt").write_text("new\n")
    (root / "data").mkdir()
    (root / "data" / "corpus.txt").write_text("words\n")
    (root / "runs" / "w.bin").write_bytes(b"weights")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_bytes(b"x")
    return root


def spec(folder: Path, **more: Any) -> dict[str, Any]:
    return {"command": "python train.py", "workdir": str(folder), "snapshot": True, **more}


def test_an_edit_in_the_second_of_the_commit_is_in_the_diff(api, repository):
    """As scripts make them: of the same size and, to the clock's grain, of the same time."""
    git(repository, "config", "core.trustctime", "false")
    train = repository / "runs" / "train.py"
    moment = train.stat().st_mtime_ns - 10**10
    os.utime(train, ns=(moment, moment))
    git(repository, "commit", "-q", "-a", "-m", "second")
    train.write_text(train.read_text().replace("second", "secund"))
    for path in (train, repository / ".git" / "index"):
        os.utime(path, ns=(moment, moment))
    job = api.post(URL, json=spec(repository / "runs")).json()
    assert job["snapshot"]["changed"] == 1
    assert "+print('secund')" in api.get(f"{URL}/{job['id']}/snapshot/diff").text


def test_commit_and_changes_are_recorded(api, repository):
    """In the job object; the diff can be fetched, new files included."""
    answer = api.post(URL, json=spec(repository / "runs"))
    assert answer.status_code == 201, answer.text
    code = answer.json()["snapshot"]
    assert code["commit"] == git(repository, "rev-parse", "HEAD")
    assert (code["branch"], code["subdir"]) == ("main", "runs")
    assert (code["changed"], code["untracked"], code["files"]) == (1, 1, 3)
    assert code["linked"] == ["data", "runs/w.bin"]
    diff = api.get(f"{URL}/1/snapshot/diff")
    assert "-print('first')\n+print('second')" in diff.text
    assert "+++ b/new.txt" in diff.text
    assert len(diff.content) == code["diff_bytes"]


def test_the_commit_with_the_diff_is_the_tree(api, repository, tmp_path):
    """Somebody else can build the same files from the record alone."""
    api.post(URL, json=spec(repository / "runs"))
    (tmp_path / "d").write_bytes(api.get(f"{URL}/1/snapshot/diff").content)
    git(tmp_path, "clone", "-q", str(repository), "again")
    git(tmp_path / "again", "apply", str(tmp_path / "d"))
    with tarfile.open(fileobj=io.BytesIO(api.get(f"{URL}/1/snapshot/archive").content)) as tar:
        for name in ("runs/train.py", "new.txt", ".gitignore"):
            kept = tar.extractfile(f"tree/{name}")
            assert kept is not None
            assert kept.read() == (tmp_path / "again" / name).read_bytes()


def test_the_repository_is_left_as_it_was(api, repository):
    """Neither index nor objects nor status change."""
    before = (
        sorted(str(p) for p in (repository / ".git").rglob("*")),
        git(repository, "status", "-s"),
    )
    index = (repository / ".git" / "index").read_bytes()
    api.post(URL, json=spec(repository / "runs"))
    after = (
        sorted(str(p) for p in (repository / ".git").rglob("*")),
        git(repository, "status", "-s"),
    )
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert index == (repository / ".git" / "index").read_bytes() or before[1] == after[1]


def test_the_worker_is_reported_where_the_code_lies(api, desk, repository):
    """Archive, digest and where in it the job runs; cells of one list share one archive."""
    api.post(URL, json=[spec(repository / "runs"), spec(repository / "runs")])
    first, second = desk.server.cache.desired_state().attempts
    assert first.snapshot == second.snapshot
    assert first.snapshot.subdir == "runs"
    assert Path(first.snapshot.archive).is_file()
    assert len(list(desk.server.options.freezer.folder.iterdir())) == 1


def test_cells_of_an_ablation_run_the_same_code(api, desk, repository):
    """One archive for all of them."""
    cells = [{"values": {"seed": str(i)}, "job": spec(repository / "runs")} for i in range(3)]
    answer = api.post("/api/v1/ablations", json={"name": "study", "cells": cells})
    assert answer.status_code == 201, answer.text
    digests = {job["snapshot"]["digest"] for job in api.get(URL).json()["jobs"]}
    assert len(digests) == 1


def test_a_folder_without_git_is_refused(api, tmp_path):
    """In one sentence; a dry run says the same, and stores nothing."""
    (tmp_path / "train.py").touch()
    for url in (URL, f"{URL}/dry-run"):
        answer = api.post(url, json=spec(tmp_path))
        assert answer.status_code == 422
        assert "is not in a git work tree" in answer.json()["detail"]
        assert answer.json()["fields"][0]["field"] == "snapshot"
    assert not (tmp_path / "snapshots").exists() or not list((tmp_path / "snapshots").iterdir())


def test_big_files_are_not_copied_silently(repository, tmp_path):
    """Too much is refused with the largest file and what to do; ignored data does not count."""
    (repository / "corpus.txt").write_bytes(b"x" * 5000)
    me = Caller(os.getuid(), "me")
    with pytest.raises(Invalid, match=r"the largest is corpus\.txt.*list data in \.gitignore"):
        Freezer(tmp_path / "s", 4096).freeze(str(repository), me)
    (repository / ".gitignore").write_text("data/\n*.bin\ncorpus.txt\n")
    assert "corpus.txt" in Freezer(tmp_path / "s", 4096).freeze(str(repository), me).linked


def test_a_repository_without_a_commit_is_all_new(repository, tmp_path):
    """No commit, every file in the diff."""
    root = tmp_path / "fresh"
    root.mkdir()
    git(root, "init", "-q")
    (root / "a.py").write_text("1\n")
    code = Freezer(tmp_path / "s", 4096).freeze(str(root), Caller(os.getuid(), "me"))
    assert (code.commit, code.untracked, code.files) == (None, 1, 1)


def test_a_script_named_by_its_whole_path_is_warned_of(api, repository):
    """It would be taken from the work tree, edits and all."""
    script = repository / "runs" / "train.py"
    job = api.post(URL, json=spec(repository, command=f"python {script}")).json()
    assert any("by its whole path" in warning for warning in job["warnings"])
    job = api.post(
        URL, json=spec(repository, command=f"python runs/train.py {repository}/data/x")
    ).json()
    assert not job["warnings"]


def test_code_is_for_its_owner_and_admins(rest, repository):
    """Others see the commit, not the files."""
    with rest.client() as mine, rest.client(NOBODY) as other:
        mine.post(URL, json=spec(repository / "runs"))
        assert other.get(f"{URL}/1").json()["snapshot"]["branch"] == "main"
        for what in ("diff", "archive"):
            assert other.get(f"{URL}/1/snapshot/{what}").status_code == 403


def test_a_job_without_a_snapshot_has_none(api):
    """404 with a sentence."""
    api.post(URL, json={"command": "true", "workdir": "/"})
    assert "without 'snapshot'" in api.get(f"{URL}/1/snapshot/diff").json()["detail"]


def test_archives_without_a_job_are_swept_at_the_start(api, desk, repository):
    """Those of jobs stay."""
    api.post(URL, json=spec(repository / "runs"))
    folder = desk.server.options.freezer.folder
    (kept,) = folder.iterdir()
    (folder / "0-feed.tar").touch()
    (folder / "x.part").touch()
    on_start(desk.server, "0")
    assert list(folder.iterdir()) == [kept]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_work_tree_is_read_as_the_submitting_user(
    repository, tmp_path, anyones_python, monkeypatch
):
    """A root server keeps no file for a user who may not read it."""
    monkeypatch.setattr("sys.executable", anyones_python)
    freezer = Freezer(tmp_path / "s", 1 << 20)
    for folder in (*tmp_path.parents, tmp_path):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    (repository / "new.txt").chmod(0o600)
    os.chown(repository / "new.txt", 0, 0)
    nobody = Caller(NOBODY, "nobody")
    with pytest.raises(Invalid, match=r"new\.txt.*Permission denied"):
        freezer.freeze(str(repository), nobody)
    (repository / "new.txt").unlink()
    code = freezer.freeze(str(repository), nobody)
    archive = freezer.path(code.digest, NOBODY)
    assert (archive.stat().st_uid, archive.stat().st_mode & 0o777) == (NOBODY, 0o400)


def test_the_program_of_the_archive_needs_the_standard_library_alone():
    """It runs as any user, with `-I -S`."""
    for program in (snapshots.CAPTURE, snapshots.UNPACK):
        assert "berth" not in {
            line.split()[1].split(".")[0]
            for line in program.read_text().splitlines()
            if line.startswith(("import ", "from "))
        }
