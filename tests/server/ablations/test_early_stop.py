"""Runs that are ended early: what was read, what becomes of jobs and attempts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berth_server.service.ablations.early_stopping import EarlyStops, on_early_stop
from berth_server.store import attempts

URL = "/api/v1/ablations"


@pytest.fixture
def looking(desk):
    """Look once, as the server does every ten seconds; the ids of the jobs that were ended."""
    early = EarlyStops()

    def look() -> list[int]:
        ended: list[int] = []
        for watched in early.watched(desk.server):
            found = early.read(watched)
            on_early_stop(desk.server, watched, found)
            ended += found
        return ended

    return look


def make(api: Any, count: int, rule: dict[str, Any], **caps: Any) -> list[int]:
    job = {"command": "true", "workdir": "/", "gpus": 1}
    cells = [{"values": {"seed": str(i)}, "job": job} for i in range(count)]
    body = {"name": "study", "cells": cells, "early_stop": rule, **caps}
    answer = api.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["ids"]


def writes(
    desk: Any, job_id: int, *values: float, first: int = 1, name: str = "metrics.jsonl"
) -> None:
    """The job's last attempt measures losses."""
    record = attempts.last(desk.server.db.read, job_id)
    folder = Path(record.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        for step, value in enumerate(values, first):
            point = {"step": step, "loss": value}
            file.write(f"{json.dumps(point) if name.endswith('jsonl') else point}\n")


MEDIAN = {"rule": "median", "metric": "loss", "after_step": 2}


def test_a_bad_run_is_stopped_with_both_numbers(api, desk, looking):
    """TERM like a cancel; its end is `cancelled`, `early_stopped`, with the reason."""
    ids = make(api, 4, MEDIAN)
    for job_id in ids:
        desk.worker.running(f"{job_id}.1")
        writes(desk, job_id, 4.0)
    assert looking() == []
    for job_id, value in zip(ids, (1.0, 1.1, 1.2, 3.0), strict=True):
        writes(desk, job_id, value, first=2)
    assert looking() == [ids[3]]
    (stopped,) = [d for d in desk.server.cache.desired_state().attempts if d.action == "stop"]
    assert (stopped.attempt, stopped.stop_reason) == (f"{ids[3]}.1", "early_stopped")
    assert looking() == []
    desk.worker.ended(f"{ids[3]}.1", None, signal=15, cause="stopped")
    job = api.get(f"/api/v1/jobs/{ids[3]}").json()
    assert (job["state"], job["outcome"]) == ("cancelled", "early_stopped")
    assert "its best loss by step 2 is 3, worse than" in job["message"]
    assert job["attempts"][0]["message"] == job["message"]


def test_it_is_not_retried_and_not_rerun_unless_all_are(api, desk, looking):
    """`failed` and `cancelled` leave it; a rerun is judged by its new attempt alone."""
    ids = make(api, 4, MEDIAN)
    for job_id, value in zip(ids, (1.0, 1.0, 1.0, 3.0), strict=True):
        desk.worker.running(f"{job_id}.1")
        writes(desk, job_id, value, value)
    looking()
    desk.worker.ended(f"{ids[3]}.1", None, signal=15, cause="stopped")
    assert api.post(f"{URL}/study/rerun", json={"which": "cancelled"}).status_code == 409
    assert api.post(f"{URL}/study/rerun", json={"which": "all"}).json()["ids"] == [ids[3]]
    assert looking() == []
    desk.worker.running(f"{ids[3]}.2")
    writes(desk, ids[3], 0.5, 0.5)
    assert looking() == []


def test_metrics_come_from_the_log_where_there_is_no_file(api, desk, looking):
    """Dictionaries that a trainer prints, read on where the last look ended."""
    ids = make(api, 2, {"rule": "margin", "metric": "loss", "margin": 1.0})
    for job_id, value in zip(ids, (1.0, 1.5), strict=True):
        desk.worker.running(f"{job_id}.1")
        writes(desk, job_id, value, name="output.log")
    assert looking() == []
    writes(desk, ids[0], 0.1, first=1, name="output.log")
    assert looking() == [ids[1]]


def test_a_reached_target_ends_the_rest(api, desk, looking):
    """Running ones are stopped, pending ones cancelled at once; the winner goes on."""
    ids = make(api, 3, {"rule": "target", "metric": "loss", "target": 1.0}, max_running=2)
    for job_id in ids[:2]:
        desk.worker.running(f"{job_id}.1")
    writes(desk, ids[0], 2.0, 0.9)
    assert looking() == ids[1:]
    assert [desk.state(job_id) for job_id in ids] == ["running", "stopping", "cancelled"]
    assert "has reached loss 0.9" in desk.job(ids[2]).message
    assert desk.job(ids[2]).outcome == "early_stopped"


def test_without_a_rule_nothing_is_read(api, desk, looking):
    """Nor once every job has ended, nor after the rule was taken away."""
    ids = make(api, 2, {"rule": "target", "metric": "loss", "target": 1.0})
    early = EarlyStops()
    assert len(early.watched(desk.server)) == 1
    api.patch(f"{URL}/study", json={"early_stop": None})
    assert early.watched(desk.server) == []
    api.patch(f"{URL}/study", json={"early_stop": MEDIAN})
    for job_id in ids:
        desk.worker.running(f"{job_id}.1")
        desk.worker.ended(f"{job_id}.1")
    assert early.watched(desk.server) == []


def test_a_job_that_moved_on_meanwhile_is_left_alone(api, desk):
    """The look reads files on a thread: what it found may be old when it is carried out."""
    ids = make(api, 2, {"rule": "target", "metric": "loss", "target": 1.0})
    for job_id in ids:
        desk.worker.running(f"{job_id}.1")
    writes(desk, ids[0], 0.5)
    early = EarlyStops()
    (watched,) = early.watched(desk.server)
    found = early.read(watched)
    desk.worker.ended(f"{ids[1]}.1", 1)
    api.post(f"{URL}/study/rerun")
    on_early_stop(desk.server, watched, found)
    assert desk.state(ids[1]) == "starting"
