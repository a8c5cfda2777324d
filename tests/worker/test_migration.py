"""Run directories of the version before: what ended is brought over, what runs goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from berth_worker.attempts.migration import migrate

USER = 65534 if os.geteuid() == 0 else os.geteuid()
# A shim as the version before wrote files: one folder, the job's own, no token in any record.
SHIM_BEFORE = """
import json, os, pathlib, signal, subprocess, sys, time
folder, attempt, uid, script = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
stat = lambda pid: int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19])
boot = open("/proc/sys/kernel/random/boot_id").read().strip()
me = lambda pid: {"pid": pid, "start_ticks": stat(pid), "boot_id": boot}
now = lambda: time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
(folder / "started").write_text(json.dumps({"attempt": attempt, **me(os.getpid())}))
log = open(folder / "output.log", "ab")
if os.geteuid() == 0: os.chown(folder, uid, uid); os.chown(folder / "output.log", uid, uid)
env = {**os.environ, "BERTH_ATTEMPT": attempt, "BERTH_RUN_DIR": str(folder)}
def become():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGCHLD])
    if os.geteuid() == 0: os.setgid(uid); os.setuid(uid)
job = subprocess.Popen(["/bin/sh", "-c", script], env=env, stdout=log, stderr=log, preexec_fn=become)
begun = now()
(folder / "shim.json").write_text(json.dumps(
    {"attempt": attempt, "shim": me(os.getpid()), "first": me(job.pid), "started_at": begun}))
cause = "exit"
while job.poll() is None:
    got = signal.sigtimedwait([signal.SIGTERM, signal.SIGCHLD], 0.2)
    if got and got.si_signo == signal.SIGTERM:
        cause = "stopped"
        job.terminate()
code = job.returncode
(folder / "exit.json.part").write_text(json.dumps({"attempt": attempt, "cause": cause,
    "exit_code": code if code >= 0 else None, "signal": -code if code < 0 else None,
    "started_at": begun, "ended_at": now()}))
os.rename(folder / "exit.json.part", folder / "exit.json")
"""


def start_before(spec: dict, script: str) -> subprocess.Popen[bytes]:
    """Start an attempt as the version before did."""
    folder = Path(spec["run_dir"])
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    words = [sys.executable, "-c", SHIM_BEFORE, str(folder), spec["attempt"], str(USER), script]
    return subprocess.Popen(words, start_new_session=True)


@pytest.fixture
def runs() -> Iterator[Path]:
    """The folder of all runs, which other users may enter."""
    with tempfile.TemporaryDirectory(prefix="runs-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_job_of_the_version_before_goes_on(idle_worker, until):
    """The worker after it follows the shim, reads what the job reports, and tells its true end."""
    idle_worker.server.up()
    spec = idle_worker.spec("unused", uid=USER)
    go = idle_worker.work / "go"
    shim = start_before(
        spec,
        f"echo {{}} > $BERTH_RUN_DIR/saved.json; while [ ! -e {go} ]; do sleep 0.05; done; exit 5",
    )
    folder = Path(spec["run_dir"])
    until((folder / "shim.json").exists, "it runs")
    idle_worker.desire(spec)
    idle_worker.start()
    assert idle_worker.until_phase(spec["attempt"], "running").exit is None
    until(lambda: idle_worker.seen(spec["attempt"]).saved_at, "its checkpoint is seen")
    assert not (folder / "files").exists(), "its folder stays as it is while it runs"
    go.touch()
    assert idle_worker.until_clear(spec["attempt"]).exit.exit_code == 5
    shim.wait(20)
    idle_worker.kill()
    idle_worker.start()
    until((folder / "files" / "saved.json").exists, "the next start brings it over")
    assert folder.stat().st_uid == os.geteuid()


def test_a_job_of_the_version_before_is_stopped(idle_worker, until):
    """A cancel reaches its shim, whatever the job has put in the place of stop.json."""
    idle_worker.server.up()
    spec = idle_worker.spec("unused", uid=USER)
    tricks = (
        'cd "$BERTH_RUN_DIR"; mkfifo stop.json.part; mkdir stop.json; touch ready; exec sleep 1000'
    )
    shim = start_before(spec, tricks)
    until((Path(spec["run_dir"]) / "ready").exists, "it runs")
    idle_worker.desire(spec)
    idle_worker.start()
    idle_worker.until_phase(spec["attempt"], "running")
    idle_worker.stop(spec["attempt"])
    assert idle_worker.until_clear(spec["attempt"]).outcome == "cancelled"
    shim.wait(20)


def test_a_job_of_the_version_before_is_not_started_again(idle_worker, until):
    """It may have removed its claim: a folder that was given to it says that it ran."""
    if os.geteuid() != 0:
        pytest.skip("only a folder that was given away says so")
    idle_worker.server.up()
    marks = idle_worker.work / "marks"
    spec = idle_worker.spec(script=f"echo again >> {marks}", uid=USER)
    shim = start_before(spec, "rm -f $BERTH_RUN_DIR/*; exec sleep 1000")
    until(lambda: not files_of(Path(spec["run_dir"])) - {"shim.json"}, "its traces are removed")
    idle_worker.desire(spec)
    idle_worker.start()
    assert idle_worker.until_clear(spec["attempt"]).outcome == "lost"
    assert not marks.exists()
    shim.wait(20)


def test_a_restored_database_does_not_take_up_records_of_the_version_before(idle_worker, until):
    """Records without a token are identified by the token of the spec in the same folder."""
    idle_worker.server.up()
    spec = idle_worker.spec("unused")
    start_before(spec, "exit 0").wait(20)
    idle_worker.desire(spec | {"token": "of another attempt"})
    idle_worker.start()
    assert idle_worker.until_clear(spec["attempt"]).outcome == "launch_error"


HOSTILE = (
    "echo '{}' > metrics.jsonl; ln -s /etc/passwd evil; mkfifo stop.json; mkdir stop.json.part; "
    "echo x > files.old; ln -s /etc files; ln -f output.log hard; mkdir -p deep/er; "
    "printf x > \"$(printf '\\377')\""
)


def test_what_ended_is_brought_over_whatever_lies_there(runs):
    """Our files stay, everything else moves, nothing is followed, and a second run does nothing."""
    folder = runs / "7" / "1"
    spec = {"attempt": "7.1", "run_dir": str(folder)}
    start_before(spec, f'cd "$BERTH_RUN_DIR"; {HOSTILE}; exit 3').wait(20)
    (runs / "7" / "code").mkdir()
    (runs / "stray").write_text("")
    assert migrate(runs) == 1
    assert folder.stat().st_uid == os.geteuid()
    inner = folder / "files"
    assert not inner.is_symlink()
    assert inner.stat().st_uid == USER
    assert {"spec.json", "started", "shim.json", "exit.json", "files"} <= files_of(folder)
    assert {"evil", "stop.json", "hard", "deep", "stop.json.part"} <= files_of(inner)
    assert (folder / "metrics.jsonl").read_text() == "{}\n"
    assert (folder / "metrics.jsonl").is_symlink()
    assert (runs / ".layout").read_text() == "2\n"
    before = files_of(folder), files_of(inner)
    (runs / ".layout").unlink()
    assert migrate(runs) == 0
    assert (files_of(folder), files_of(inner)) == before


def test_one_that_runs_keeps_its_layout_and_is_looked_at_again(runs, until):
    """Its job continues to write to the same place; the start after its end converts it."""
    folder = runs / "7" / "1"
    shim = start_before({"attempt": "7.1", "run_dir": str(folder)}, "exec sleep 1000")
    until((folder / "shim.json").exists, "it runs")
    assert migrate(runs) == 0
    assert not (folder / "files").exists()
    assert not (runs / ".layout").exists()
    psutil.Process(shim.pid).terminate()
    shim.wait(20)
    assert migrate(runs) == 1
    assert (folder / "files").is_dir()
