"""The job's folder: nothing in it frees the job, harms another one or is trusted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from berth_worker.fence import APPLY

MALLORY = 65534
VICTIM = 1
AS_ROOT = os.geteuid() == 0
USERS = [None, MALLORY] if AS_ROOT else [None]
PIPES = (
    "for f in stop.json stop.json.part shim.json.part exit.json.part started.part launch.json.part; "
    'do rm -f "$BERTH_RUN_DIR/$f"; mkfifo "$BERTH_RUN_DIR/$f"; '
    'rm -f "$BERTH_RUN_DIR/../$f"; mkfifo "$BERTH_RUN_DIR/../$f"; done 2> /dev/null; '
)
FOLDERS = PIPES.replace("mkfifo", "mkdir")
DEVICES = PIPES.replace("mkfifo", "ln -s /dev/zero")
LINKS = PIPES.replace("mkfifo", "ln -s /etc/hostname")
TERMS = {
    "huge": '{"grace_s": 1e12, "warn_s": 1e12}',
    "nan": '{"grace_s": NaN, "warn_s": NaN}',
    "nested": "[" * 60_000,
    "long number": '{"grace_s": 1' + "0" * 5000 + "}",
    "integer beyond floats": '{"grace_s": 1' + "0" * 400 + "}",
    "empty": "",
}


def runs_for_others(worker) -> None:
    """Another job starts, runs and is reported."""
    assert worker.until_clear(worker.run(script="exit 7")).exit.exit_code == 7
    assert worker.process.poll() is None


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize(
    "trick", [PIPES, FOLDERS, DEVICES, LINKS], ids=["pipes", "folders", "devices", "links"]
)
class TestNothingInPlaceOfOurFiles:
    """Pipes, folders, devices and links under every name that worker and shim write."""

    def test_frees_a_job_of_its_time_limit(self, shared_worker, trick, uid):
        """The limit comes when it was to come, also where the trick is quicker than the shim."""
        limited = shared_worker.run(
            script=f"{trick} exec sleep 1000", uid=uid, workdir="/", time_limit="1s", grace="1s"
        )
        assert shared_worker.until_clear(limited).outcome == "time_limit"
        runs_for_others(shared_worker)

    def test_frees_a_job_of_a_cancel(self, shared_worker, until, trick, uid):
        """A cancel reaches it, and the worker does not wait for it."""
        ready = shared_worker.work / "ready"
        shared_worker.work.chmod(0o777)
        script = f"trap '' TERM; {trick} touch {ready}; while :; do sleep 0.1; done"
        hostile = shared_worker.run(script=script, uid=uid, workdir="/", grace="0.3s")
        until(ready.exists, "the trick is done")
        shared_worker.stop(hostile)
        runs_for_others(shared_worker)
        assert shared_worker.until_clear(hostile).outcome == "cancelled"

    def test_keeps_an_end_from_being_recorded(self, shared_worker, until, trick, uid):
        """Its own exit code is reported, and its shim exits."""
        done = shared_worker.run(script=f"{trick} sleep 0.3; exit 4", uid=uid, workdir="/")
        assert shared_worker.until_clear(done).exit.exit_code == 4
        until(lambda: not shared_worker.shims(), "its shim has exited")


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("name", TERMS)
def test_stop_terms_of_its_own_change_nothing(shared_worker, until, name, uid):
    """However a job words the terms of its stop, it is stopped on those of its submit."""
    terms = shared_worker.work / "terms"
    terms.write_text(TERMS[name])
    shared_worker.work.chmod(0o777)
    ready = shared_worker.work / "ready"
    script = (
        f'trap "" TERM; cd "$BERTH_RUN_DIR"; rm -f stop.json; cp {terms} stop.json; '
        f"mkdir ../stop.json.part; touch {ready}; while :; do sleep 0.1; done"
    )
    attempt = shared_worker.run(script=script, uid=uid, workdir="/", grace="0.3s")
    until(ready.exists, "the terms are there")
    began = time.monotonic()
    shared_worker.stop(attempt)
    ended = shared_worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.cause) == ("cancelled", "stopped")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("uid", USERS)
def test_nothing_outlives_a_job_whose_sizes_are_none(shared_worker, until, uid):
    """Thousands of digits in LOCAL_WORLD_SIZE end no shim; a daemon without a mark ends with it."""
    shared_worker.work.chmod(0o777)
    pid_file = shared_worker.work / "daemon"
    digits = "9" * 5000
    script = (
        f"(setsid env -i sh -c 'echo $$ > {pid_file}; exec sleep 1000' > /dev/null 2>&1 &); "
        f"LOCAL_RANK=0 LOCAL_WORLD_SIZE={digits} sleep 1000 & "
        f"while [ ! -s {pid_file} ]; do sleep 0.05; done; exit 0"
    )
    program = shared_worker.work / "program"
    program.write_text(script)
    attempt = shared_worker.run(["sh", str(program)], uid=uid, workdir="/", gpus=(0,))
    ended = shared_worker.until_clear(attempt)
    assert (ended.exit.cause, ended.exit.exit_code) == ("exit", 0), ended.message
    daemon = int(pid_file.read_text())
    until(lambda: not psutil.pid_exists(daemon), "the daemon has ended with the job")


def test_a_shim_that_fails_ends_its_jobs_processes_first(tmp_path, until):
    """A fault in the shim leaves no process behind, and a message in the folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    pids = tmp_path / "pids"
    script = f"(setsid env -i sh -c 'echo $$ >> {pids}; exec sleep 1000' &); echo $$ >> {pids}; exec sleep 1000"
    fence = {"mask": [], "user_namespace": False, "drop_capabilities": [], "apply": str(APPLY)}
    launch = {
        "attempt": "1.1", "argv": ["/bin/sh", "-c", script], "env": {"PATH": os.environ["PATH"]},
        "cwd": "/", "uid": None, "gid": os.getgid(), "groups": [], "fence": fence, "grace_s": 5.0,
    }  # fmt: skip
    (folder / "launch.json").write_text(json.dumps(launch))
    fails = (
        "import sys, time\n"
        "from berth_worker.shim import process_tree, supervise\n"
        "def fail():\n"
        "    while len(open(sys.argv[2]).read().split()) < 2: time.sleep(0.01)\n"
        "    raise RecursionError('told to fail')\n"
        "process_tree.oom_kills = fail\n"
        "supervise.main(sys.argv[1])\n"
    )
    words = [sys.executable, "-c", fails, str(folder / "launch.json"), str(pids)]
    pids.touch()
    assert subprocess.run(words, timeout=30).returncode == 0
    assert "told to fail" in (folder / "shim.error").read_text()
    assert not (folder / "exit.json").exists()
    started = [int(word) for word in pids.read_text().split()]
    assert len(started) == 2
    until(lambda: not any(map(psutil.pid_exists, started)), "its processes have ended")


def test_a_record_of_another_attempt_is_not_taken_for_its_own(shared_worker):
    """A new attempt that finds the records of another under its number is refused, never reported as done."""
    first = shared_worker.run("true")
    shared_worker.until_clear(first)
    spec = dict(shared_worker.server.attempts["a" + first.replace(".", "_")])
    shared_worker.forget(first)
    again = shared_worker.spec(script="exit 6", job_id=spec["job_id"])
    again |= {"token": "another token", "run_dir": spec["run_dir"]}
    shared_worker.server.known.pop(first)
    shared_worker.desire(again)
    ended = shared_worker.until_clear(first)
    assert (ended.outcome, ended.exit) == ("launch_error", None)
    assert "restore" in ended.message
    assert "submit the job again" in ended.message


def test_every_record_names_the_attempts_token(shared_worker, until):
    """Claim, orders, shim and exit records say whose they are beyond the attempt's number."""
    attempt = shared_worker.run(script="sleep 0.5")
    shared_worker.until_clear(attempt)
    folder = shared_worker.folder(attempt)
    until((folder / "exit.json").exists, "the record is written")
    token = shared_worker.server.attempts["a" + attempt.replace(".", "_")]["token"]
    for name in ("started", "launch.json", "shim.json", "exit.json", "spec.json"):
        assert json.loads((folder / name).read_text())["token"] == token, name


def test_readers_outside_find_the_jobs_files(shared_worker):
    """Beside Berth's own files lie log and links to what the job wrote; the job finds its log."""
    script = (
        'echo said; cd "$BERTH_RUN_DIR"; while [ ! -e output.log ]; do sleep 0.01; done; wc -l < output.log; echo \'{"step": 1}\' > metrics.jsonl; '
        "echo {} > saved.json; echo again >> /dev/stdout"
    )
    attempt = shared_worker.run(script=script)
    assert shared_worker.until_clear(attempt).saved_at is not None
    folder = shared_worker.folder(attempt)
    assert (folder / "output.log").read_text() == "said\n1\nagain\n"
    assert (folder / "metrics.jsonl").read_text() == '{"step": 1}\n'
    assert (folder / "files" / "metrics.jsonl").is_file()


def test_a_job_that_is_over_at_once_has_links_only_if_it_wrote_something(shared_worker, until):
    """Seven more inodes are not worth their time for a job that left nothing to find."""
    for script, is_linked in (("true", False), ("echo {} > $BERTH_RUN_DIR/metrics.jsonl", True)):
        attempt = shared_worker.run(script=script)
        shared_worker.until_clear(attempt)
        folder = shared_worker.folder(attempt)
        until((folder / "exit.json").exists, "the record is written")
        if is_linked:
            assert (folder / "metrics.jsonl").read_text() == "{}\n"
        elif not (folder / "shim.json").exists():  # it was over within 0.1 s
            assert not any(path.is_symlink() for path in folder.iterdir())


@pytest.mark.skipif(not AS_ROOT, reason="only root runs jobs as others")
class TestAsAnotherUser:
    """A root worker and two users: one attacks, one suffers."""

    def test_the_run_directory_is_closed_to_the_job(self, shared_worker):
        """It can put nothing there, take nothing away and replace neither log nor folder."""
        script = (
            'cd "$BERTH_RUN_DIR/.." || exit 9; for f in started launch.json shim.json output.log; do '
            'rm "$f" && echo "removed $f"; mv "$f" x && echo "moved $f"; done; '
            "touch new && echo made; mv files other && echo moved files; "
            "ln -sf /etc/passwd metrics.jsonl && echo replaced; sleep 0.3; exit 5"
        )
        attempt = shared_worker.run(script=f"({script}) 2> /dev/null", uid=MALLORY, workdir="/")
        assert shared_worker.until_clear(attempt).exit.exit_code == 5
        assert shared_worker.output(attempt) == ""
        folder = shared_worker.folder(attempt)
        assert folder.stat().st_uid == 0
        assert (folder / "files").stat().st_uid == MALLORY
        assert (folder / "output.log").stat().st_uid == MALLORY

    def test_a_file_of_another_user_is_not_given_away(self, shared_worker, until):
        """A hard link in the log's place, and a shim with something to say: the file stays whole."""
        shared_worker.work.chmod(0o777)
        treasure = shared_worker.work / "treasure"
        treasure.write_text("whole\n")
        os.chown(treasure, VICTIM, MALLORY)
        treasure.chmod(0o664)
        script = (
            f'cd "$BERTH_RUN_DIR"; for f in . ..; do ln -f {treasure} $f/output.log; '
            f"ln -f {treasure} $f/stop.json.part; ln -f {treasure} $f/exit.json.part; done 2> /dev/null; "
            "for r in 0 1; do LOCAL_RANK=$r LOCAL_WORLD_SIZE=2 sh -c 'exec sleep 1000' & done; "
            "sleep 0.3; exit 0"
        )
        attempt = shared_worker.run(script=script, uid=MALLORY, workdir="/", gpus=(0, 1))
        ended = shared_worker.until_clear(attempt)
        assert ended.exit.exit_code == 1, "its launcher left ranks behind"
        stopped = shared_worker.run(
            script=f"{script[: script.index('for r in')]} touch {shared_worker.work}/r; exec sleep 99",
            uid=MALLORY,
            workdir="/",
        )
        until((shared_worker.work / "r").exists, "the links are there")
        shared_worker.stop(stopped)
        assert shared_worker.until_clear(stopped).outcome == "cancelled"
        facts = treasure.stat()
        assert (facts.st_uid, treasure.read_text()) == (VICTIM, "whole\n")
        assert "ranks" in shared_worker.output(attempt)

    def test_a_job_that_removes_its_traces_runs_once(self, worker, until):
        """Without claim and shim record a next worker would start it again."""
        worker.work.chmod(0o777)
        marks = worker.work / "marks"
        script = (
            f'echo run >> {marks}; rm -rf "$BERTH_RUN_DIR"/* "$BERTH_RUN_DIR"/../* 2> /dev/null; '
            f"touch {worker.work}/ready; while [ ! -e {worker.work}/go ]; do sleep 0.05; done; exit 3"
        )
        attempt = worker.run(script=script, uid=MALLORY, workdir="/", gpus=(0,))
        until((worker.work / "ready").exists, "its traces are removed")
        worker.until_phase(attempt, "running")
        worker.kill()
        worker.start()
        reports = len(worker.server.reports)
        until(lambda: len(worker.server.reports) > reports + 1, "the new worker reports")
        (worker.work / "go").touch()
        assert worker.until_clear(attempt).exit.exit_code == 3
        assert marks.read_text() == "run\n"

    def test_a_forged_record_is_not_believed(self, worker, until):
        """Records in the job's folder count for nothing, with or without its shim."""
        script = (
            'cd "$BERTH_RUN_DIR"; for f in exit.json started shim.json; do echo \'{"attempt": "1.1", '
            '"exit_code": 0, "cause": "exit", "ended_at": "2026-01-01T00:00:00Z"}\' > $f; done; '
            "touch forged; exec sleep 1000"
        )
        attempt = worker.run(script=script, uid=MALLORY, workdir="/", gpus=(0,))
        until((worker.folder(attempt) / "files" / "forged").exists, "the forgery is there")
        worker.kill()
        (pid,) = worker.shims()
        os.kill(pid, signal.SIGKILL)
        worker.start()
        assert worker.until_clear(attempt).outcome == "lost"


def test_no_path_of_a_job_is_opened_by_name():
    """Shim and worker open files below a run directory by descriptor."""
    for path in (Path(APPLY).parent.parent / "shim").glob("*.py"):
        if path.name not in {"files.py", "exec_job.py", "self_setup.py"}:
            text = path.read_text()
            assert "os.open(" not in text, path
            assert "open(self" not in text, path
