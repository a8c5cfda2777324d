"""Ablations: made in one transaction, capped together, changed, run again."""

from __future__ import annotations

from typing import Any

import pytest

from berth_server.service.transaction import change

URL = "/api/v1/ablations"
NOBODY = 65_534


def spec(*values: dict[str, str], **more: Any) -> dict[str, Any]:
    """An ablation of one-GPU jobs, one per cell."""
    job = {"command": "true", "workdir": "/", "gpus": 1, **more.pop("job", {})}
    cells = [{"values": one, "job": job} for one in values or ({"seed": "1"}, {"seed": "2"})]
    return {"name": "study", "cells": cells, **more}


def states(desk: Any, ids: list[int]) -> list[str]:
    return [desk.state(job_id) for job_id in ids]


def finish(desk: Any, job_id: int, code: int = 0) -> None:
    """The running attempt of a job ends with this code."""
    desk.worker.running(f"{job_id}.{desk.job(job_id).attempts}")
    desk.worker.ended(f"{job_id}.{desk.job(job_id).attempts}", code)


class TestMaking:
    def test_row_jobs_and_labels_are_made_together(self, api, desk):
        """Each job carries the ablation's name and its values."""
        answer = api.post(URL, json=spec(max_running=1, max_gpu_hours=40))
        assert answer.status_code == 201, answer.text
        assert answer.json()["ids"] == [1, 2]
        assert api.get("/api/v1/jobs/2").json()["labels"] == {"seed": "2", "ablation": "study"}
        shown = api.get(f"{URL}/study").json()
        assert shown["varies"] == ["seed"]
        assert shown["caps"]["max_running"] == 1
        assert shown["caps"]["max_gpu_hours"] == 40
        (listed,) = api.get(URL).json()["ablations"]
        assert listed["caps"]["user"] == shown["caps"]["user"]

    def test_one_bad_cell_makes_nothing(self, api, desk):
        """Neither jobs nor the ablation are there afterwards."""
        body = spec()
        body["cells"][1]["job"] = body["cells"][1]["job"] | {"depends_on": [77]}
        assert api.post(URL, json=body).status_code == 422
        assert api.get("/api/v1/jobs").json()["jobs"] == []
        assert api.get(f"{URL}/study").status_code == 404
        assert api.post(URL, json=spec()).status_code == 201

    def test_a_repeated_submit_makes_the_jobs_once(self, api):
        """The same key gives the same ids."""
        headers = {"Idempotency-Key": "k"}
        first = api.post(URL, json=spec(), headers=headers)
        again = api.post(URL, json=spec(), headers=headers)
        assert (first.json()["ids"], again.json()["ids"]) == ([1, 2], [1, 2])

    def test_a_taken_name_is_refused_unless_cells_are_to_be_added(self, api):
        """`add` makes the new cells only, and its caps are the new ones."""
        api.post(URL, json=spec(max_running=1))
        refused = api.post(URL, json=spec())
        assert refused.status_code == 409
        assert "--add" in refused.json()["detail"]
        more = spec({"seed": "2"}, {"seed": "3"}, add=True, max_running=3)
        made = api.post(URL, json=more).json()
        assert (made["ids"], made["skipped"]) == ([3], 1)
        assert api.get(f"{URL}/study").json()["caps"]["max_running"] == 3

    def test_another_users_ablation_is_left_alone(self, rest, desk):
        """Neither added to, nor changed, nor run again by others."""
        with rest.client() as mine, rest.client(NOBODY) as other:
            mine.post(URL, json=spec())
            finish(desk, 1, 1)
            assert other.post(URL, json=spec(add=True)).status_code == 403
            assert other.patch(f"{URL}/study", json={"max_running": 9}).status_code == 403
            assert other.post(f"{URL}/study/rerun").status_code == 403

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"max_runing": 1}, "did you mean 'max_running'"),
            ({"max_running": 0}, "write at least 1"),
            ({"early_stop": {"rule": "median"}}, "'metric' is missing"),
            ({"early_stop": {"rule": "margin", "metric": "loss"}}, "needs 'margin'"),
            (
                {"early_stop": {"rule": "median", "metric": "loss", "target": 1.0}},
                "'target' belongs to the rule target",
            ),
            ({"name": "a/b"}, "name"),
            ({"cells": []}, "cells"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, api, change, words):
        """It names the field, and the nearest known one for a typo."""
        answer = api.post(URL, json=spec() | change)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (({"seed": "1"}, {"seed": "1"}), "Two cells"),
            (({"ablation": "x"},), "names the ablation"),
        ],
    )
    def test_values_tell_cells_apart(self, api, values, words):
        """Two cells with the same values, or one that takes the ablation's word, are refused."""
        answer = api.post(URL, json=spec(*values))
        assert answer.status_code == 422
        assert words in answer.json()["detail"]


class TestCaps:
    def test_only_so_many_run_at_once(self, api, desk):
        """The next starts when one ends; others are not held up; why names the cap."""
        body = spec({"seed": "1"}, {"seed": "2"}, {"seed": "3"}, max_running=2)
        ids = api.post(URL, json=body).json()["ids"]
        other = desk.submit(gpus=1)
        assert states(desk, ids) == ["starting", "starting", "queued"]
        assert desk.state(other) == "starting"
        result = desk.explain(ids[2])
        assert "Ablation study has 2 jobs running and may have 2 (max_running)" in result
        finish(desk, ids[0])
        assert desk.state(ids[2]) == "starting"

    def test_nothing_starts_once_the_budget_is_used(self, api, desk, tmp_path, open_desk):
        """Running jobs continue; a restart counts the same; a raised budget lets the rest start."""
        cells = [{"seed": str(i)} for i in range(3)]
        body = spec(*cells, max_running=1, max_gpu_hours=2, job={"gpus": 2})
        ids = api.post(URL, json=body).json()["ids"]
        desk.worker.running("1.1")
        desk.clock.now += 3600
        desk.worker.tell()
        assert desk.state(ids[0]) == "running"
        finish(desk, ids[0])
        assert states(desk, ids) == ["succeeded", "queued", "queued"]
        assert "has used 2 of 2 GPU-hours" in desk.explain(ids[1])
        shown = api.get(f"/api/v1/jobs/{ids[1]}/explain").json()
        assert shown.get("expected_start") is None
        with open_desk(tmp_path, desk.clock) as again:
            again.worker.tell()
            with change(again.server):
                pass
            assert again.state(ids[1]) == "queued"
            assert "2 GPU-hours" in again.explain(ids[1])
        patched = api.patch(f"{URL}/study", json={"max_gpu_hours": 4})
        assert patched.json()["caps"]["used_gpu_hours"] == 2
        assert states(desk, ids) == ["succeeded", "starting", "queued"]

    def test_a_lifted_cap_starts_what_waited_for_it(self, api, desk):
        """At once; changing an ablation that is none is refused."""
        ids = api.post(URL, json=spec(max_running=1)).json()["ids"]
        assert desk.state(ids[1]) == "queued"
        assert api.patch(f"{URL}/study", json={"max_running": None}).status_code == 200
        assert desk.state(ids[1]) == "starting"
        assert api.patch(f"{URL}/none", json={"max_running": 1}).status_code == 404


class TestRerun:
    def test_failed_cells_are_queued_again_in_one_transaction(self, api, desk):
        """Under their own ids; what succeeded or was cancelled stays."""
        cells = [{"seed": str(i)} for i in range(4)]
        ids = api.post(URL, json=spec(*cells)).json()["ids"]
        for job_id, code in zip(ids, (0, 1, 1), strict=False):
            finish(desk, job_id, code)
        api.post(f"/api/v1/jobs/{ids[3]}/cancel")
        desk.worker.ended(f"{ids[3]}.1", None, signal=15, cause="stopped")
        before = desk.server.db.commits
        answer = api.post(f"{URL}/study/rerun")
        assert answer.json()["ids"] == ids[1:3]
        assert desk.server.db.commits == before + 1
        assert states(desk, ids) == ["succeeded", "starting", "starting", "cancelled"]
        wish = api.post(f"{URL}/study/rerun", json={"which": "cancelled"})
        assert wish.json()["ids"] == [ids[3]]

    def test_all_of_them(self, api, desk):
        """`all` takes the succeeded ones too; those that have not ended go on."""
        ids = api.post(URL, json=spec()).json()["ids"]
        finish(desk, ids[0])
        assert api.post(f"{URL}/study/rerun", json={"which": "all"}).json()["ids"] == [ids[0]]

    def test_nothing_to_rerun_is_said(self, api, desk):
        """409 with a sentence; 404 for an unknown name."""
        api.post(URL, json=spec())
        answer = api.post(f"{URL}/study/rerun")
        assert answer.status_code == 409
        assert "No run of study has failed" in answer.json()["detail"]
        assert api.post(f"{URL}/none/rerun").status_code == 404

    def test_a_chain_of_cells_is_rerun_as_a_chain(self, api, desk):
        """A cell whose dependency is rerun along waits for it again."""
        first = desk.submit(gpus=1, labels={"ablation": "chain"})
        second = desk.submit(gpus=1, labels={"ablation": "chain"}, depends_on=[first])
        finish(desk, first, 1)
        assert states(desk, [first, second]) == ["failed", "failed"]
        assert api.post(f"{URL}/chain/rerun").json()["ids"] == [first, second]
        assert states(desk, [first, second]) == ["starting", "waiting"]
