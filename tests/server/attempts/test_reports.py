"""Worker reports: which ones change anything."""

from __future__ import annotations

import pytest

from berth_server.store import events


@pytest.mark.parametrize("phase", ["running", "ended"])
def test_a_report_with_a_wrong_token_changes_nothing(desk, phase):
    """Late and foreign writes are dropped."""
    desk.submit(gpus=1)
    before = events.last_id(desk.server.db.read)
    getattr(desk.worker, phase)("1.1", token="0" * 32)
    assert desk.state(1) == "starting"
    assert events.last_id(desk.server.db.read) == before


def test_a_report_about_a_released_attempt_changes_nothing(desk):
    """An ended attempt stays ended, as it ended."""
    desk.submit(gpus=1)
    token = desk.worker.token("1.1")
    desk.worker.ended("1.1", 0)
    before = events.last_id(desk.server.db.read)
    desk.worker.ended("1.1", 1, token=token)
    desk.worker.running("1.1", token)
    assert desk.job(1).exit_code == 0
    assert desk.state(1) == "succeeded"
    assert events.last_id(desk.server.db.read) == before


@pytest.mark.parametrize("attempt", ["nonsense", "1", "1.x", "99.1", "-1.1"])
def test_a_report_about_an_unknown_attempt_is_dropped(desk, attempt):
    """Whatever it is called."""
    desk.worker.running(attempt, "token")
    assert desk.held() == {}


def test_a_repeated_report_writes_nothing(desk):
    """Reports come every second; those without news leave no trace."""
    desk.submit(gpus=1)
    desk.worker.running("1.1")
    before = events.last_id(desk.server.db.read)
    generation = desk.server.cache.generation
    for _ in range(3):
        desk.clock.now += 1
        desk.worker.running("1.1")
    assert events.last_id(desk.server.db.read) == before
    assert desk.server.cache.generation == generation
