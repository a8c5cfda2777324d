"""Webhooks hear about the end of jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from berth_server.background import webhooks
from berth_server.service.notices import WAITS, on_waits
from berth_server.store import events, messages


class Hook:
    """A web server that keeps what is posted to it, and refuses as often as asked."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.refuse = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = 200
                if hook.refuse:
                    hook.refuse -= 1
                    status = 500
                else:
                    hook.bodies.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook(monkeypatch) -> Iterator[Hook]:
    """A hook, and no pauses worth waiting for."""
    monkeypatch.setattr(webhooks, "_PAUSES_S", (0.01, 0.01))
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def test_the_end_of_a_job_is_reported_once(api, desk, hook, until):
    """With a sentence that chat programs show, and the job itself."""
    spec = {"command": "true", "workdir": "/", "notify": [hook.url], "env": {"A_TOKEN": "hunter2"}}
    job_id = api.post("/api/v1/jobs", json=spec | {"hold": True, "name": "night"}).json()["id"]
    api.post("/api/v1/jobs", json=spec | {"hold": True, "notify": []})
    api.post("/api/v1/jobs/2/cancel")
    api.post(f"/api/v1/jobs/{job_id}/cancel")
    until(lambda: hook.bodies, "the notice came", 10)
    (body,) = hook.bodies
    assert body["text"] == body["content"]
    assert "job 1 (night)" in body["text"]
    assert "was cancelled" in body["text"]
    assert body["job"]["id"] == job_id
    assert "hunter2" not in json.dumps(body)


def test_only_ends_with_a_webhook_are_looked_at(desk):
    """The others cost the server nothing: a list of jobs makes as many events as it has jobs."""
    for notify in ([], ["http://127.0.0.1:1/none"], []):
        desk.submit(gpus=1, notify=notify)
    before = events.last_id(desk.server.db.read)
    for job_id in (1, 2, 3):
        desk.worker.ended(f"{job_id}.1", 0)
    newest = events.last_id(desk.server.db.read)
    ends = {"job.succeeded", "job.failed"}
    read = desk.server.db.read
    assert events.with_notice(read, ends, after=0, until=newest) == [(2, "job.succeeded")]
    assert events.with_notice(read, ends, after=0, until=before) == []
    assert events.with_notice(read, ends, after=newest, until=newest) == []


def test_a_hook_that_stumbles_is_tried_again(api, hook, until):
    """A few times."""
    hook.refuse = 2
    spec = {"command": "true", "workdir": "/", "notify": [hook.url], "hold": True}
    api.post("/api/v1/jobs", json=spec)
    api.post("/api/v1/jobs/1/cancel")
    until(lambda: hook.bodies, "the notice came", 10)


def test_a_hook_that_is_not_there_harms_nothing(api, hook, until):
    """The queue goes on, and other hooks hear."""
    hooks = ["http://127.0.0.1:1/none", "http://[broken", hook.url]
    spec = {"command": "true", "workdir": "/", "notify": hooks[:1] + hooks[2:], "hold": True}
    api.post("/api/v1/jobs", json=spec)
    assert api.post("/api/v1/jobs/1/cancel").status_code == 200
    until(lambda: hook.bodies, "the notice came", 10)
    assert api.get("/api/v1/jobs/1").json()["state"] == "cancelled"


def notices_of(desk, hook, *kinds, waits=False) -> int:
    """Submit a job for which these notices are wanted."""
    return desk.submit(gpus=9 if waits else 1, notify=[hook.url], notify_on=list(kinds))


def test_a_start_is_told_to_those_who_want_it(api, desk, hook, until):
    """With its GPUs; the end is not, where only the start is wanted."""
    job_id = notices_of(desk, hook, "start")
    desk.worker.running(f"{job_id}.1")
    until(lambda: hook.bodies, "the notice came", 10)
    assert "runs on GPU" in hook.bodies[0]["text"]
    desk.worker.ended(f"{job_id}.1", 0)
    other = notices_of(desk, hook, "end")
    desk.worker.running(f"{other}.1")
    desk.worker.ended(f"{other}.1", 0)
    until(lambda: len(hook.bodies) == 2, "the other's came", 10)
    assert f"job {other} " in hook.bodies[1]["text"]


def test_failures_alone_are_told_to_those_who_want_them(api, desk, hook, until):
    """A success between two failures is not."""
    for code in (1, 0, 1):
        job_id = notices_of(desk, hook, "failure")
        desk.worker.running(f"{job_id}.1")
        desk.worker.ended(f"{job_id}.1", code)
    until(lambda: len(hook.bodies) == 2, "the notices came", 10)
    assert sorted(body["job"]["id"] for body in hook.bodies) == [job_id - 2, job_id]


def test_a_long_wait_is_told_once(desk, hook):
    """Of the jobs that want it, when it is as long as they say."""
    holder = desk.submit(gpus=8)
    told = desk.submit(gpus=8, notify=[hook.url], notify_on=["waiting:2h"])
    desk.submit(gpus=8, notify=[hook.url])
    assert desk.state(holder) == "starting"
    on_waits(desk.server)
    desk.clock.now += 2 * 3600 + 1
    for _ in range(2):
        on_waits(desk.server)
    rows = desk.server.db.read.all("SELECT job_id, message FROM events WHERE kind = ?", (WAITS,))
    assert [row[0] for row in rows] == [told]
    assert "It has waited for 2h" in str(messages.decode(rows[0][1]))


@pytest.mark.parametrize("kind", ["never", "waiting", "waiting:soon", ""])
def test_a_kind_of_notice_that_is_none_is_refused(api, kind):
    """Naming those that there are."""
    spec = {"command": "true", "workdir": "/", "notify_on": [kind]}
    answer = api.post("/api/v1/jobs", json=spec)
    assert answer.status_code == 422


class TestPeople:
    """Addresses of apprise: its own sender for JSON stands for mail and chat programs."""

    @pytest.fixture
    def allowed(self, desk):
        """A box whose admin allows two kinds."""
        pytest.importorskip("apprise")
        desk.server.options = replace(
            desk.server.options, notify_schemas=frozenset({"json", "mailto"})
        )
        return desk

    def test_a_person_is_told_through_apprise(self, allowed, api, hook, until):
        """With a title and the sentence; the address is shown to nobody."""
        address = hook.url.replace("http://", "json://ada:hunter2@")
        spec = {"command": "true", "workdir": "/", "notify": [address], "name": "night"}
        made = api.post("/api/v1/jobs", json=spec | {"hold": True})
        assert made.status_code == 201, made.text
        api.post("/api/v1/jobs/1/cancel")
        until(lambda: hook.bodies, "the notice came", 20)
        (body,) = hook.bodies
        assert body["title"] == "Berth: night cancelled"
        assert "job 1 (night)" in body["message"]
        assert api.get("/api/v1/jobs/1").json()["notify"] == ["json://…"]
        assert "hunter2" not in made.text + api.get("/api/v1/events").text

    def test_other_kinds_are_refused(self, allowed, api):
        """Some act on the server's own machine: the admin names those that are wanted."""
        spec = {"command": "true", "workdir": "/", "notify": ["dbus://x"]}
        for path in ("/api/v1/jobs", "/api/v1/jobs/dry-run"):
            answer = api.post(path, json=spec)
            assert answer.status_code == 422
            assert "https, json, mailto" in answer.json()["detail"]
            assert "notify_schemas" in answer.json()["detail"]

    def test_none_are_allowed_by_default(self, api):
        """Web addresses alone, as ever."""
        spec = {"command": "true", "workdir": "/", "notify": ["mailto://ada@example.org"]}
        assert api.post("/api/v1/jobs", json=spec).status_code == 422

    def test_a_box_without_the_package_says_so(self, allowed, api, monkeypatch):
        """And how to add it."""
        monkeypatch.setattr("berth_server.service.jobs.check.find_spec", lambda _: None)
        spec = {"command": "true", "workdir": "/", "notify": ["mailto://ada@example.org"]}
        assert "pip install" in api.post("/api/v1/jobs", json=spec).json()["detail"]
