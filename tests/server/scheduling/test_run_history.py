"""Run history: estimates of the next run from earlier ones."""

from __future__ import annotations

import pytest

from berth_server.core.settings import USAGE_HALF_LIFE

DAY_S = 86400.0


def run(desk, seconds: float, **spec) -> None:
    job_id = desk.submit(**spec)
    desk.worker.tell()
    desk.worker.running(f"{job_id}.1")
    desk.clock.now += seconds
    desk.worker.tell()
    desk.worker.ended(f"{job_id}.1")


def test_runs_like_a_job_give_its_estimate(desk, tmp_path, open_desk):
    """Those of the same script and GPUs, and others like it; a restart knows them too."""
    (tmp_path / "train.py").touch()
    spec = {"command": ["python", "train.py"], "workdir": str(tmp_path), "gpus": 2}
    for _ in range(5):
        run(desk, 100.0, **spec)
    desk.submit(hold=True, **spec)
    (view,) = desk.server.cache.pending.values()
    assert view.estimate is not None
    # The record starts and ends where the worker says.
    known = view.estimate.samples_s
    assert view.estimate.mean_s == pytest.approx(100.0)
    assert view.estimate.source.startswith("5 earlier runs of ")
    with open_desk(tmp_path, desk.clock) as again:
        (view,) = again.server.cache.pending.values()
        assert view.estimate.samples_s == known


def test_failures_tell_nothing_about_the_length(desk):
    """They end when they fail."""
    for _ in range(6):
        job_id = desk.submit(gpus=1)
        desk.worker.ended(f"{job_id}.1", 1)
    desk.submit(hold=True, gpus=1)
    (view,) = desk.server.cache.pending.values()
    assert view.estimate is None


def test_gpu_time_is_counted_by_user_and_fades(desk, tmp_path, open_desk):
    """Present and past usage, the past halved per half-life; also after a restart."""
    half_life_s = USAGE_HALF_LIFE.total_seconds()
    user = next(iter({desk.job(desk.submit(gpus=4)).user}))

    def used(server) -> float:
        users, _ = server.usage.by_user_and_group(server.cache, desk.clock.now, server.groups.of)
        return users[user].decayed_gpu_s

    desk.clock.now += 50
    assert used(desk.server) == pytest.approx(200)
    desk.worker.tell()
    desk.worker.ended("1.1")
    desk.clock.now += half_life_s
    assert used(desk.server) == pytest.approx(100)
    with open_desk(tmp_path, desk.clock) as again:
        assert used(again.server) == pytest.approx(100)
