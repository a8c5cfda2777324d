"""Expected starts of a job that asked for something else."""

from __future__ import annotations

from datetime import timedelta

from berth_server.core.explain.variants import Request, variants

GIB = 1 << 30
BOX = [80 * GIB] * 8
SPEC = {"command": "true", "workdir": "/"}


def made(asked: Request, box: list[int] = BOX) -> list[tuple[str, Request]]:
    return list(variants(asked, box))


class TestVariants:
    """One thing changes each."""

    def test_the_request_itself_comes_first_and_nothing_comes_twice(self):
        """All from one to eight GPUs, limits around its own, the other preemptible."""
        asked = Request(gpus=4, time_limit=timedelta(hours=8))
        found = made(asked)
        assert found[0] == ("nothing", asked)
        assert [r.gpus for v, r in found if v == "gpus"] == [1, 2, 3, 5, 6, 7, 8]
        limits = [r.time_limit for v, r in found if v == "time_limit"]
        assert limits == [timedelta(hours=2), timedelta(hours=4), timedelta(hours=16), None]
        assert [r.preemptible for v, r in found if v == "preemptible"] == [True]
        assert len(set(map(str, found))) == len(found)

    def test_no_more_gpus_than_there_are_with_enough_memory(self):
        """A small box, and one whose GPUs differ."""
        assert [r.gpus for v, r in made(Request(gpus=1), [80 * GIB] * 2) if v == "gpus"] == [2]
        asked = Request(gpus=1, gpu_memory=60 * GIB)
        mixed = [24 * GIB] * 6 + [80 * GIB] * 2
        assert [r.gpus for v, r in made(asked, mixed) if v == "gpus"] == [2]

    def test_one_gpu_may_be_a_share_and_a_share_a_gpu(self):
        """With the memory it asked for, else with half a GPU's."""
        (share,) = [r for v, r in made(Request(gpus=1)) if v == "share"]
        assert (share.share, share.gpu_memory) == (True, 40 * GIB)
        asked = Request(gpus=1, gpu_memory=20 * GIB, share=True)
        found = made(asked)
        assert [r.share for v, r in found if v == "share"] == [False]
        assert [r for v, r in found if v == "gpus"] == []

    def test_a_job_without_gpus_has_none(self):
        """It waits for no GPU."""
        assert [v for v, _ in made(Request(gpus=0))] == ["nothing"]


def by(answer, varies: str, **fields: object) -> dict:
    (found,) = [
        one
        for one in answer.json()["options"]
        if one["varies"] == varies and all(one[k] == v for k, v in fields.items())
    ]
    return found


class TestRest:
    """`POST /jobs/what-if`, `GET /jobs/{id}/what-if`, `GET /plan?job=`."""

    def test_fewer_gpus_start_now_where_the_whole_box_waits(self, api):
        """And nothing is written."""
        api.post("/api/v1/jobs", json=SPEC | {"gpus": 6, "time_limit": "4h"})
        answer = api.post("/api/v1/jobs/what-if", json=SPEC | {"gpus": 4, "time_limit": "1h"})
        assert answer.status_code == 200, answer.text
        asked = by(answer, "nothing")
        assert (asked["starts_now"], asked["position"]) == (False, 1)
        assert asked["expected_start"] is not None
        assert by(answer, "gpus", gpus=2)["starts_now"] is True
        assert by(answer, "gpus", gpus=2)["gpu_indices"] == [6, 7]
        assert by(answer, "gpus", gpus=8)["starts_now"] is False
        assert len(api.get("/api/v1/jobs").json()["jobs"]) == 1

    def test_a_shorter_limit_slips_in_before_a_waiting_job(self, api):
        """As the backfill does it."""
        api.post("/api/v1/jobs", json=SPEC | {"gpus": 4, "time_limit": "4h"})
        api.post("/api/v1/jobs", json=SPEC | {"gpus": 8, "time_limit": "4h", "priority": 500})
        answer = api.post("/api/v1/jobs/what-if", json=SPEC | {"gpus": 4, "time_limit": "8h"})
        assert by(answer, "nothing")["starts_now"] is False
        assert by(answer, "time_limit", time_limit="2h")["starts_now"] is True

    def test_a_waiting_job_is_compared_at_its_own_place(self, api):
        """It keeps its age; the first option is its present forecast."""
        api.post("/api/v1/jobs", json=SPEC | {"gpus": 6, "time_limit": "4h"})
        job = api.post("/api/v1/jobs", json=SPEC | {"gpus": 4, "time_limit": "1h"}).json()["id"]
        answer = api.get(f"/api/v1/jobs/{job}/what-if")
        assert by(answer, "nothing")["expected_start"] is not None
        assert by(answer, "nothing")["position"] == 1
        assert by(answer, "gpus", gpus=2)["starts_now"] is True
        running = api.get("/api/v1/jobs/1/what-if")
        assert running.status_code == 409
        assert "has not started" in running.json()["detail"]

    def test_the_plan_can_be_a_dry_run(self, api):
        """Another number of GPUs moves the bar, and the queue stays as it was."""
        api.post("/api/v1/jobs", json=SPEC | {"gpus": 6, "time_limit": "4h"})
        job = api.post("/api/v1/jobs", json=SPEC | {"gpus": 4, "time_limit": "1h"}).json()["id"]

        def bar(**query) -> dict:
            answer = api.get("/api/v1/plan", params=query)
            assert answer.status_code == 200, answer.text
            (found,) = [one for one in answer.json()["bars"] if one["job_id"] == job]
            return found

        before = bar()
        tried = bar(job=job, gpus=2)
        assert (before["kind"], tried["kind"]) == ("planned", "planned")
        assert tried["starts_at"] < before["starts_at"]
        assert tried["gpu_indices"] == [6, 7]
        longer = bar(job=job, time_limit="3h")
        assert longer["ends_at"] > before["ends_at"]
        assert bar(job=job, time_limit="none")["ends_by"] is None
        assert bar()["gpu_indices"] == before["gpu_indices"]
        assert api.get("/api/v1/plan", params={"job": job, "gpus": 99}).status_code == 409
        assert api.get("/api/v1/plan", params={"job": job, "time_limit": "x"}).status_code == 422

    def test_what_was_tried_can_be_made_so(self, api):
        """The number of GPUs and preemptible are changed like the time limit."""
        api.post("/api/v1/jobs", json=SPEC | {"gpus": 6, "time_limit": "4h"})
        job = api.post("/api/v1/jobs", json=SPEC | {"gpus": 4, "time_limit": "1h"}).json()["id"]
        changed = api.patch(f"/api/v1/jobs/{job}", json={"gpus": 2, "preemptible": True})
        assert changed.status_code == 200, changed.text
        shown = changed.json()
        assert (shown["gpus"], shown["preemptible"]) == (2, True)
        assert shown["state"] == "starting"
        other = api.post("/api/v1/jobs", json=SPEC | {"gpus": 4}).json()["id"]
        refused = api.patch(f"/api/v1/jobs/{other}", json={"gpus": 99})
        assert refused.status_code == 422
        assert refused.json()["fields"][0]["field"] == "gpus"
        share = {"gpus": 1, "gpu_memory": "40GiB", "share": True, "hold": True}
        part = api.post("/api/v1/jobs", json=SPEC | share).json()["id"]
        assert api.patch(f"/api/v1/jobs/{part}", json={"gpus": 2}).status_code == 422
