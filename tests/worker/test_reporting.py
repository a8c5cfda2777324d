"""Reports of device samples to the server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from berth.protocol.base import utc_now
from berth.protocol.gpus import BoxSnapshot
from berth.protocol.internal import WorkerReport
from berth.protocol.states import FenceKind
from berth_worker.server_link import report
from berth_worker.server_link.report import Reporter


def look(driver_version: str = "1") -> BoxSnapshot:
    return BoxSnapshot(
        taken_at=utc_now(), source="simulated", driver_version=driver_version, gpus=()
    )


@pytest.fixture
def box(monkeypatch):
    """A reporter that has just reported an empty box, with its clock in the test's hand."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: clock.now))
    sampler = SimpleNamespace(latest=look())
    supervisor = SimpleNamespace(has_attempts=False, observed=lambda *, everything: ())  # noqa: ARG005
    frame = WorkerReport(worker_id="w", boot_id="b", fence=FenceKind.ADVISORY, version="0")
    reporter = Reporter(frame, sampler, supervisor)
    assert reporter.due, "the first sample is reported"
    reporter.build(whole=True)
    return SimpleNamespace(reporter=reporter, sampler=sampler, supervisor=supervisor, clock=clock)


def test_an_empty_box_reports_seldom(box):
    """Samples without news wait until the server might take the worker for dead."""
    box.clock.now += 1
    box.sampler.latest = look()
    assert not box.reporter.due
    box.clock.now += 2
    assert box.reporter.due


def test_news_is_reported_with_the_next_sample(box):
    """Devices that show something new, and attempts, are reported every second."""
    box.clock.now += 1
    box.sampler.latest = look("2")
    assert box.reporter.due
    box.sampler.latest = look("1")
    assert not box.reporter.due
    box.supervisor.has_attempts = True
    assert box.reporter.due
