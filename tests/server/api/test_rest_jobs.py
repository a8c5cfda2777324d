"""The REST interface of jobs."""

from __future__ import annotations

import pytest

from berth.protocol.jobs import Job
from berth_server.service.auth.callers import Caller

SPEC = {"command": "true", "workdir": "/"}


def submit(api, **spec) -> int:
    answer = api.post("/api/v1/jobs", json=SPEC | spec)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_one_spec_is_answered_with_the_job(api):
    """As it is: started already on an idle box."""
    answer = api.post("/api/v1/jobs", json=SPEC | {"gpus": 2, "name": "first"})
    assert answer.status_code == 201
    job = Job.model_validate_json(answer.content)
    assert (job.id, job.name, job.state, job.gpus) == (1, "first", "starting", 2)
    assert job.gpu_indices == [0, 1]
    assert job == Job.model_validate_json(api.get("/api/v1/jobs/1").content)


def test_a_list_is_answered_with_a_list_in_order(api):
    """Ids increase with the place in the list."""
    answer = api.post("/api/v1/jobs", json=[SPEC | {"name": f"n{i}"} for i in range(5)])
    assert answer.status_code == 201
    assert [(job["id"], job["name"]) for job in answer.json()] == [
        (i + 1, f"n{i}") for i in range(5)
    ]


def test_a_list_can_be_answered_with_ids_alone(api):
    """`Prefer: return=minimal`, for thousands."""
    answer = api.post(
        "/api/v1/jobs", json=[SPEC | {"hold": True}] * 3, headers={"Prefer": "return=minimal"}
    )
    assert answer.json() == {"ids": [1, 2, 3], "warnings": [], "warnings_parts": []}


def test_a_list_is_all_or_nothing(api):
    """The problem tells which one was wrong, and no job was made."""
    answer = api.post("/api/v1/jobs", json=[SPEC, SPEC | {"gpus": 99}])
    assert answer.status_code == 422
    assert [field["field"] for field in answer.json()["fields"]] == ["1.gpus"]
    assert answer.json()["detail"].startswith("The 2nd job of the list: The job asks for 99")
    answer = api.post("/api/v1/jobs", json=[SPEC, SPEC, SPEC | {"time_limit": "soon"}])
    assert answer.json()["detail"].startswith("The 3rd job of the list: time_limit: 'soon' is")
    assert api.get("/api/v1/jobs").json()["jobs"] == []
    assert submit(api) == 1


class TestIdempotency:
    """`Idempotency-Key`."""

    def test_the_same_submit_again_gives_the_same_jobs(self, api):
        """Also after the first ones have gone on."""
        key = {"Idempotency-Key": "k1"}
        first = api.post("/api/v1/jobs", json=[SPEC, SPEC], headers=key).json()
        api.post("/api/v1/jobs/1/cancel")
        again = api.post("/api/v1/jobs", json=[SPEC, SPEC], headers=key)
        assert again.status_code == 201
        assert [job["id"] for job in again.json()] == [job["id"] for job in first]
        assert again.json()[0]["state"] == "stopping"
        assert submit(api) == 3

    def test_another_body_under_the_same_key_is_a_conflict(self, api):
        """A key stands for one submit."""
        key = {"Idempotency-Key": "k1"}
        api.post("/api/v1/jobs", json=SPEC, headers=key)
        answer = api.post("/api/v1/jobs", json=SPEC | {"gpus": 2}, headers=key)
        assert answer.status_code == 409
        assert "new key" in answer.json()["detail"]

    def test_a_refused_submit_does_not_use_the_key_up(self, api):
        """The corrected one may carry it."""
        key = {"Idempotency-Key": "k1"}
        assert api.post("/api/v1/jobs", json=SPEC | {"gpus": 99}, headers=key).status_code == 422
        assert api.post("/api/v1/jobs", json=SPEC, headers=key).status_code == 201

    def test_keys_are_the_callers_own(self, rest):
        """Somebody else's same key is another key."""
        key = {"Idempotency-Key": "k1"}
        with rest.client(0) as root, rest.client(1) as daemon:
            assert root.post("/api/v1/jobs", json=SPEC, headers=key).json()["id"] == 1
            assert daemon.post("/api/v1/jobs", json=SPEC, headers=key).json()["id"] == 2


class TestLists:
    """Listing."""

    def test_pages_go_through_all_jobs_newest_first(self, api):
        """Each once, also while new ones come."""
        api.post("/api/v1/jobs", json=[SPEC | {"hold": True}] * 25)
        seen, cursor = [], None
        while True:
            page = api.get(
                "/api/v1/jobs", params={"limit": 10, "cursor": cursor} if cursor else {"limit": 10}
            ).json()
            seen += [job["id"] for job in page["jobs"]]
            submit(api, hold=True)
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == list(range(25, 0, -1))

    def test_filters_hold_together(self, api):
        """State (several), user and labels (all)."""
        submit(api, labels={"a": "1", "b": "2"}, hold=True)
        submit(api, labels={"a": "1"}, hold=True)
        submit(api, labels={"a": "1", "b": "2"}, gpus=8)
        submit(api, labels={"a": "1", "b": "2"}, gpus=8)

        def ids(**params) -> list[int]:
            answer = api.get("/api/v1/jobs", params=params)
            assert answer.status_code == 200, answer.text
            return [job["id"] for job in answer.json()["jobs"]]

        assert ids(label="a=1") == [4, 3, 2, 1]
        assert ids(label=["a=1", "b=2"]) == [4, 3, 1]
        assert ids(label=["a=1", "b=2"], state="held") == [1]
        assert ids(state="held,starting") == [3, 2, 1]
        assert ids(state=["held", "queued"], label="b=2") == [4, 1]
        assert ids(user="nobody-here") == []
        assert ids(label="a=") == []

    def test_counts_know_every_state(self, api):
        """With 0 where none is."""
        submit(api, hold=True, labels={"a": "1"})
        submit(api, gpus=1)
        counts = api.get("/api/v1/jobs/counts").json()["counts"]
        assert (counts["held"], counts["starting"], counts["failed"]) == (1, 1, 0)
        assert len(counts) == 9
        only = api.get("/api/v1/jobs/counts", params={"label": "a=1"}).json()["counts"]
        assert (only["held"], only["starting"]) == (1, 0)

    @pytest.mark.parametrize(
        ("query", "word"),
        [
            ("state=sleeping", "sleeping"),
            ("label=novalue", "key=value"),
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("cursor=!!!", "cursor"),
            ("stat=held", "state"),
        ],
    )
    def test_a_query_that_makes_no_sense_is_refused(self, api, query, word):
        """A typo never widens the list silently."""
        answer = api.get(f"/api/v1/jobs?{query}")
        assert answer.status_code == 422
        assert word in answer.json()["detail"]


class TestActions:
    """Cancel, hold, release, retry, patch."""

    def test_each_answers_with_the_job_as_it_is_now(self, api):
        """A body is not needed; an empty object does no harm."""
        submit(api, hold=True)
        assert api.post("/api/v1/jobs/1/release").json()["state"] == "starting"
        assert api.post("/api/v1/jobs/1/cancel", json={}).json()["state"] == "stopping"
        submit(api, gpus=8)
        assert api.post("/api/v1/jobs/2/hold").json()["state"] == "held"
        assert api.patch("/api/v1/jobs/2", json={"priority": 5}).json()["priority"] == 5
        assert api.post("/api/v1/jobs/2/cancel").json()["outcome"] == "cancelled"
        assert api.post("/api/v1/jobs/2/retry").json()["state"] == "queued"

    def test_what_its_state_does_not_allow_is_a_conflict(self, api):
        """409 with the state in the sentence."""
        submit(api, gpus=1)
        for verb in ("hold", "release", "retry"):
            answer = api.post(f"/api/v1/jobs/1/{verb}")
            assert answer.status_code == 409, verb
            assert "starting" in answer.json()["detail"]
        assert api.patch("/api/v1/jobs/1", json={"name": "x"}).status_code == 409

    def test_a_limit_leaves_time_for_the_warning_that_was_asked_for(self, api):
        """At submit and when the limit is changed; the default warning stands for any limit."""
        warned = {"command": ["true"], "workdir": "/", "warn_before": "5m", "gpus": 8, "hold": True}
        refused = api.post("/api/v1/jobs", json={**warned, "time_limit": "2m"})
        assert refused.status_code == 422
        assert refused.json()["detail"] == (
            "'warn_before' of 5m is longer than the time limit of 2m; give a shorter warning or a "
            "longer limit."
        )
        assert api.post("/api/v1/jobs", json={**warned, "time_limit": "5m"}).status_code == 201
        changed = api.patch("/api/v1/jobs/1", json={"time_limit": "1m"})
        assert (changed.status_code, "at least 5m" in changed.json()["detail"]) == (422, True)
        assert api.patch("/api/v1/jobs/1", json={"time_limit": "1h"}).status_code == 200
        assert api.patch("/api/v1/jobs/1", json={"time_limit": None}).status_code == 200
        del warned["warn_before"]
        assert api.post("/api/v1/jobs", json={**warned, "time_limit": "1m"}).status_code == 201
        assert api.patch("/api/v1/jobs/2", json={"time_limit": "10s"}).status_code == 200

    @pytest.mark.parametrize("verb", ["cancel", "hold", "release", "retry", "explain", "log"])
    def test_an_unknown_job_is_404(self, api, verb):
        """With the id in the sentence."""
        method = "GET" if verb in {"explain", "log"} else "POST"
        answer = api.request(method, f"/api/v1/jobs/77/{verb}")
        assert answer.status_code == 404
        assert "77" in answer.json()["detail"]

    def test_a_body_where_none_belongs_is_refused(self, api):
        """Nothing that was sent is ignored."""
        submit(api, hold=True)
        assert api.post("/api/v1/jobs/1/cancel", json={"force": True}).status_code == 422
        assert api.get("/api/v1/jobs/1").json()["state"] == "held"


def test_a_waiting_job_tells_position_reason_and_expected_start(api, desk):
    """And explain says the same at length."""
    submit(api, gpus=8, time_limit="1h")
    desk.worker.running("1.1")
    submit(api, gpus=8)
    job = api.get("/api/v1/jobs/2").json()
    assert job["position"] == 1
    assert "job 1" in job["reason"]
    assert job["expected_start"] is not None
    shown = api.get("/api/v1/jobs/2/explain").json()
    assert (shown["position"], shown["summary"]) == (1, job["reason"])
    assert shown["reasons"][0]["job_ids"] == [1]


def test_explain_puts_a_job_next_to_another(api, desk):
    """By default the one just ahead; any other on request, an unknown one is 404."""
    submit(api, gpus=8)
    desk.worker.running("1.1")
    for priority in (9, 5, 1):
        submit(api, gpus=8, priority=priority)
    shown = api.get("/api/v1/jobs/4/explain").json()
    assert shown["standing"]["position"] == 3
    points = sum(part["points"] for part in shown["standing"]["parts"])
    assert points == pytest.approx(shown["standing"]["points"])
    assert shown["compared"]["standing"]["job_id"] == 3
    assert shown["compared"]["sentence"].endswith("its priority is 5, not 1.")
    first = api.get("/api/v1/jobs/4/explain?against=2").json()["compared"]
    assert first["standing"]["job_id"] == 2
    assert first["ahead"]
    behind = api.get("/api/v1/jobs/2/explain?against=4").json()["compared"]
    assert not behind["ahead"]
    assert behind["sentence"] == first["sentence"]
    assert api.get("/api/v1/jobs/4/explain?against=77").status_code == 404
    assert api.get("/api/v1/jobs/2/explain?against=1").json()["compared"] is None


def test_an_attempt_tells_why_it_got_its_gpus(api, desk):
    """As it was when it started: later starts and ends do not change it."""
    submit(api, gpus=4)
    submit(api, gpus=2)
    first, second = (api.get(f"/api/v1/jobs/{i}").json()["attempts"][0] for i in (1, 2))
    assert first["gpu_indices"] == [0, 1, 2, 3]
    assert first["placement"]["free_indices"] == list(range(8))
    assert second["placement"]["free_indices"] == [4, 5, 6, 7]
    assert second["placement"]["sentence"].startswith("GPUs 4\N{EN DASH}5 ")
    desk.worker.running("1.1")
    desk.worker.ended("1.1", 0)
    assert api.get("/api/v1/jobs/1").json()["attempts"][0]["placement"] == first["placement"]


def test_explain_tells_of_running_and_ended_jobs_too(api, desk):
    """Whatever state a job is in."""
    submit(api, gpus=1)
    desk.worker.running("1.1")
    assert api.get("/api/v1/jobs/1/explain").json()["state"] == "running"
    desk.worker.ended("1.1", 3)
    shown = api.get("/api/v1/jobs/1/explain").json()
    assert shown["state"] == "failed"
    assert "exit code 3" in shown["summary"]


def test_secrets_are_never_shown_again(api, desk):
    """The worker gets them; answers carry stars, webhooks only their host."""
    env = {"WANDB_API_KEY": "hunter2", "HF_TOKEN": "hunter3", "EPOCHS": "3"}
    hook = "https://user:hunter4@chat.example.org/hooks/hunter5?k=hunter6"
    answer = api.post("/api/v1/jobs", json=SPEC | {"env": env, "notify": [hook]})
    texts = [
        answer.text,
        *(api.get(f"/api/v1/{path}").text for path in ("jobs", "jobs/1", "events")),
    ]
    assert not any("hunter" in text for text in texts)
    assert answer.json()["env"]["EPOCHS"] == "3"
    assert "chat.example.org" in answer.json()["notify"][0]
    (wanted,) = desk.server.cache.desired_state().attempts
    assert wanted.env == env


def test_gpus_are_taken_from_the_command_unless_given(api):
    """The field wins, with a warning; a command that says nothing gets one GPU."""
    jobs = api.post(
        "/api/v1/jobs",
        json=[
            {"command": "torchrun --nproc-per-node=4 train_deepspeed.py", "workdir": "/"},
            {
                "command": "torchrun --nproc-per-node=4 train_deepspeed.py",
                "workdir": "/",
                "gpus": 2,
            },
            {"command": "true", "workdir": "/"},
            {"command": "true", "workdir": "/", "gpus": 0},
        ],
    ).json()
    assert [job["gpus"] for job in jobs] == [4, 2, 1, 0]
    assert "gets 2" in jobs[1]["warnings"][0]
    assert jobs[0]["warnings"] == []


def test_other_users_may_read_but_not_change(rest, desk):
    """The lab sees everything; a job is its owner's."""
    desk.submit(Caller(1, "daemon"), hold=True)
    with rest.client(2) as api:
        assert api.get("/api/v1/jobs/1").status_code == 200
        for verb in ("cancel", "hold", "release", "retry"):
            assert api.post(f"/api/v1/jobs/1/{verb}").status_code == 403
        assert api.patch("/api/v1/jobs/1", json={"priority": 1}).status_code == 403
        assert api.post("/api/v1/gpus/0/drain").status_code == 403
    with rest.client(1) as api:
        assert api.post("/api/v1/jobs/1/cancel").status_code == 200


class TestDryRun:
    """`POST /jobs/dry-run`."""

    def test_tells_where_a_job_would_start_and_writes_nothing(self, api):
        """With the command as it would be started."""
        spec = {"command": "deepspeed --num_gpus=4 train_deepspeed.py", "workdir": "/"}
        shown = api.post("/api/v1/jobs/dry-run", json=spec).json()
        assert (shown["gpus"], shown["starts_now"], shown["gpu_indices"]) == (4, True, [0, 1, 2, 3])
        assert shown["changes"]
        assert shown["after"] != shown["before"]
        assert api.get("/api/v1/jobs").json()["jobs"] == []
        assert submit(api) == 1

    def test_tells_what_it_would_wait_for(self, api, desk):
        """And since when it could start."""
        submit(api, gpus=8, time_limit="2h")
        desk.worker.running("1.1")
        shown = api.post("/api/v1/jobs/dry-run", json=SPEC | {"gpus": 2}).json()
        assert shown["starts_now"] is False
        assert shown["position"] == 1
        assert shown["expected_start"] is not None
        assert "job 1" in shown["summary"]

    def test_a_job_that_was_not_submitted_cannot_be_released(self, api):
        """Its id is not assigned yet, and may be another job's a moment later."""
        shown = api.post("/api/v1/jobs/dry-run", json=SPEC | {"hold": True}).json()
        assert shown["would_help"] == []

    def test_refuses_what_a_submit_refuses(self, api):
        """In the same words."""
        spec = SPEC | {"gpus": 99}
        dry, wet = (api.post(f"/api/v1/jobs{path}", json=spec) for path in ("/dry-run", ""))
        assert dry.status_code == wet.status_code == 422
        assert dry.json()["detail"] == wet.json()["detail"]


class TestOrder:
    """`sort` and `order` of the list."""

    def test_jobs_come_by_a_column_and_page_by_page(self, api):
        """Across pages none is missing and none comes twice, with the filter kept."""
        for gpus, name in ((1, "b"), (4, "C"), (2, "a"), (0, "d")):
            submit(api, gpus=gpus, name=name, hold=True)
        submit(api, gpus=8, name="other", hold=True, labels={"of": "others"})

        def listed(**query) -> list[str]:
            found: list[str] = []
            cursor = None
            while True:
                asked = {"limit": 2, "state": "held", **query}
                page = api.get(
                    "/api/v1/jobs", params=asked | ({"cursor": cursor} if cursor else {})
                )
                assert page.status_code == 200, page.text
                found += [job["name"] for job in page.json()["jobs"]]
                cursor = page.json()["next_cursor"]
                if cursor is None:
                    return found

        assert listed(sort="gpus") == ["other", "C", "a", "b", "d"]
        assert listed(sort="gpus", order="asc") == ["d", "b", "a", "C", "other"]
        assert listed(sort="name") == ["a", "b", "C", "d", "other"]
        assert listed(sort="id", order="asc") == ["b", "C", "a", "d", "other"]
        assert listed(sort="gpus", label="of=others") == ["other"]
        assert listed(sort="gpus", q="oth") == ["other"]

    def test_jobs_without_the_value_come_last(self, api):
        """In both directions; every order can be asked for."""
        waits = submit(api, gpus=1, hold=True)
        ended = submit(api, gpus=1, hold=True)
        api.post(f"/api/v1/jobs/{ended}/cancel")
        for order in ("asc", "desc"):
            page = api.get("/api/v1/jobs", params={"sort": "ended", "order": order}).json()
            assert [job["id"] for job in page["jobs"]] == [ended, waits]
        for sort in ("user", "state", "outcome", "priority", "ran", "gpu_hours", "energy", "idle"):
            page = api.get("/api/v1/jobs", params={"sort": sort}).json()
            assert {job["id"] for job in page["jobs"]} == {waits, ended}
        assert api.get("/api/v1/jobs", params={"sort": "spec"}).status_code == 422
