"""Hostile files of one job: no effect on others."""

from __future__ import annotations

import json

import pytest
from tests.worker.conftest import open_worker, ready

NESTED = "[" * 60_000
FAILURES = {
    "surrogate": '{"kind": "x", "sentence": "\\ud800 tail"}',
    "surrogate key": '{"\\udfff": 1, "kind": "\\ud800"}',
    "nested": NESTED,
    "nested sentence": '{"sentence": ' + '{"a":' * 60_000,
    "long number": '{"kind": 1' + "0" * 5000 + "}",
    "not finite": '{"kind": NaN, "sentence": 1e999}',
    "no object": '[{"kind": "oom_gpu"}]',
    "too long": '{"sentence": "' + "x" * 200_000 + '"}',
    "escapes": '{"sentence": "\\u001b]52;c;x\\u0007a\\u0000b\\u202ec"}',
}


def ends(worker, attempt: str, code: int):
    """Wait for the attempt's end with its own code; what was reported."""
    ended = worker.until_clear(attempt)
    assert ended.exit.exit_code == code, ended
    assert (ended.message or "").encode().decode() == (ended.message or "")
    return ended


@pytest.mark.parametrize("name", FAILURES)
def test_a_hostile_diagnosis_harms_no_other_job(shared_worker, name):
    """A failure.json that nothing can parse ends its own attempt, and others run and are reported."""
    path = shared_worker.work / "failure.json"
    path.write_text(FAILURES[name])
    hostile = shared_worker.run(script=f'cp {path} "$BERTH_RUN_DIR/failure.json"; exit 3')
    other = shared_worker.run(script="exit 7")
    ended = ends(shared_worker, hostile, 3)
    assert ended.outcome == "exit"
    assert "\x1b" not in ended.message
    ends(shared_worker, other, 7)
    assert shared_worker.process.poll() is None


@pytest.mark.parametrize(
    "variables",
    [
        {"LOCAL_RANK": "²"},
        {"LOCAL_RANK": "9" * 5000},
        {"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": "³"},
        {"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": "9" * 5000},
        {"LOCAL_RANK": "-1", "CUDA_VISIBLE_DEVICES": "0,,1"},
    ],
    ids=["superscript", "long", "devices superscript", "devices long", "signs"],
)
def test_a_hostile_environment_harms_no_other_job(shared_worker, until, variables):
    """Numbers in a job's environment that are none do not end the sampling of the devices."""
    words = " ".join(f"{name}={value}" for name, value in variables.items())
    hostile = shared_worker.run(script=f"export {words}; sleep 1000 & wait", gpus=(0,))
    shared_worker.until_phase(hostile, "running")
    seen = len(shared_worker.server.reports)

    def sampled() -> bool:
        fresh = shared_worker.server.reports[seen:]
        return sum(report.snapshot is not None for report in fresh) > 1

    until(sampled, "the devices are sampled on")
    ends(shared_worker, shared_worker.run(script="exit 7"), 7)
    shared_worker.stop(hostile)
    assert shared_worker.until_clear(hostile).outcome == "cancelled"


def test_a_report_that_cannot_be_sent_goes_out_without_it():
    """Of an attempt that no encoding takes the rest is sent; the other attempts are whole."""
    from types import SimpleNamespace

    from berth.protocol.internal import ObservedAttempt, WorkerReport
    from berth.protocol.states import FenceKind
    from berth_worker.server_link.report import Reporter

    good = ObservedAttempt(attempt="1.1", token="t", phase="ended", message="fine")
    bad = good.model_copy(update={"attempt": "2.1", "message": "\ud800"})
    worse = good.model_copy(update={"attempt": "3.1", "token": "\ud800"})
    reporter = Reporter(
        WorkerReport(worker_id="w", boot_id="b", fence=FenceKind.ADVISORY, version="0"),
        SimpleNamespace(latest=None),
        SimpleNamespace(observed=lambda *, everything: (good, bad, worse)),  # noqa: ARG005
    )
    sent = json.loads(reporter.build(whole=True))["attempts"]
    assert (sent[0]["attempt"], sent[0]["message"]) == ("1.1", "fine")
    assert "cannot be sent" in sent[1]["message"]
    assert len(sent) == 2
    assert len(reporter.build_single()) == 2


def test_a_log_that_cannot_be_written_ends_no_worker(tmp_path, until):
    """With its stderr on a full device it starts jobs, tells their ends, and stays."""
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with open_worker(full) as worker:
        ready(worker)
        for code in (0, 5):
            ended = worker.until_clear(worker.run(script=f"exit {code}"))
            assert ended.exit.exit_code == code
        attempt = worker.run("sleep 1000")
        worker.until_phase(attempt, "running")
        worker.stop(attempt)
        assert worker.until_clear(attempt).outcome == "cancelled"
        assert worker.process.poll() is None
