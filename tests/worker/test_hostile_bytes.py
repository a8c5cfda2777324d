"""Any bytes in any file of an attempt, given to a running worker: it goes on, and so do others."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.commands.test_jobfiles import HOSTILE, JSON

MALLORY = 65534 if os.geteuid() == 0 else None
FROM_JOBS = (
    *("failure.json", "saved.json", "metrics.jsonl", "output.log", "stop.json", "exit.json"),
    *("started", "shim.json", "launch.json", "spec.json", "shim.error", "exit.json.part"),
)
OURS = ("started", "shim.json", "launch.json", "spec.json", "stop.json", "shim.error")
CONTENT = (
    st.sampled_from(HOSTILE)
    | st.binary(max_size=2000)
    | JSON.map(lambda value: json.dumps(value).encode())
)
_SLOW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # each example is an attempt of its own
)
tried = {"files": 0}


@pytest.fixture(scope="module", autouse=True)
def count():
    """Say how many files were tried, for the record of a run."""
    yield
    print(f"\nhostile files given to a running worker: {tried['files']}")


@settings(_SLOW, max_examples=60)
@given(
    files=st.dictionaries(st.sampled_from(FROM_JOBS), CONTENT, min_size=1, max_size=6),
    end=st.sampled_from(["exit", "cancel", "signal"]),
)
def test_what_a_job_writes_is_its_own_affair(shared_worker, until, files, end):
    """Its folder full of anything: it ends as it ended, the worker lives, its report is clean."""
    tried["files"] += len(files)
    given = shared_worker.work / secrets.token_hex(4)
    given.mkdir()
    for name, content in files.items():
        (given / name).write_bytes(content)
    ready = shared_worker.work / f"{given.name}.ready"
    shared_worker.work.chmod(0o777)
    last = {"exit": "exit 3", "cancel": "exec sleep 1000", "signal": "kill -9 $$"}[end]
    log = f"cat {given}/output.log; " if "output.log" in files else ""
    script = (
        f'cp -f --remove-destination {given}/* "$BERTH_RUN_DIR/" 2> /dev/null; '
        f'cp -f {given}/* "$BERTH_RUN_DIR/../" 2> /dev/null; {log}touch {ready}; {last}'
    )
    uid = MALLORY
    attempt = shared_worker.run(script=script, uid=uid, workdir="/", grace="0s")
    if end == "cancel":
        until(ready.exists, "its files are there")
        shared_worker.stop(attempt)
    ended = shared_worker.until_clear(attempt)
    if uid is None:
        # The worker's own user can forge anything of the worker's: it only must not fall.
        assert ended.outcome is not None
    elif end == "cancel":
        assert ended.outcome == "cancelled"
    else:
        wanted = (3, None) if end == "exit" else (None, 9)
        assert (ended.exit.exit_code, ended.exit.signal) == wanted
    (ended.message or "").encode()
    assert shared_worker.process.poll() is None
    shared_worker.forget(attempt)


@settings(_SLOW, max_examples=8)
@given(files=st.dictionaries(st.sampled_from(OURS), CONTENT, min_size=1, max_size=4))
def test_what_a_disk_makes_of_our_own_files_ends_no_worker(shared_worker, until, files):
    """Our own records in ruins, as after a power cut: the next worker tells one end, runs nothing twice."""
    tried["files"] += len(files)
    marks = shared_worker.work / secrets.token_hex(4)
    attempt = shared_worker.run(script=f"echo run >> {marks}; exec sleep 1000", grace="0s")
    until(marks.exists, "it runs")
    shared_worker.until_phase(attempt, "running")
    (shim,) = shared_worker.shims()
    shared_worker.kill()
    for name, content in files.items():
        (shared_worker.folder(attempt) / name).write_bytes(content)
    shared_worker.start()
    reports = len(shared_worker.server.reports)
    until(lambda: len(shared_worker.server.reports) > reports + 1, "the next worker reports")
    shared_worker.stop(attempt)
    ended = shared_worker.until_clear(attempt)
    assert ended.outcome in {"cancelled", "lost", "launch_error"}
    assert marks.read_text() == "run\n"
    assert shared_worker.process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.kill(shim, signal.SIGKILL)
    shared_worker.forget(attempt)
