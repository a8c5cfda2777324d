"""Events, GPUs, users, settings, health, metrics, the dashboard's files, OpenAPI."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import berth_server
from berth.protocol.events import EventPage
from berth.protocol.gpus import Box
from berth.protocol.states import JobState
from berth_server.service.auth.callers import Caller
from berth_server.web.static import Dashboard


def test_events_are_paged_by_id(api, desk):
    """After one that was seen; without that the newest; of one job on request."""
    for _ in range(5):
        desk.submit(hold=True)
    everything = EventPage.model_validate_json(api.get("/api/v1/events?after=0").content)
    ids = [event.id for event in everything.events]
    assert ids == list(range(1, len(ids) + 1))
    assert everything.last_id == ids[-1]
    page = api.get("/api/v1/events", params={"after": 2, "limit": 2}).json()
    assert [event["id"] for event in page["events"]] == [3, 4]
    assert page["last_id"] == 4
    newest = api.get("/api/v1/events", params={"limit": 2}).json()
    assert [event["id"] for event in newest["events"]] == ids[-2:]
    only = api.get("/api/v1/events", params={"job": 3}).json()["events"]
    assert [event["job_id"] for event in only] == [3]
    assert api.get("/api/v1/events", params={"after": 10**6}).json() == {
        "events": [],
        "last_id": 10**6,
    }


def test_every_kind_of_event_is_documented(desk):
    """docs/reference/events.md lists what the code writes."""
    root = Path(berth_server.__file__).parent
    written = set()
    for path in (root / "service").rglob("*.py"):
        text = path.read_text()
        written |= set(
            re.findall(
                r'"((?:job|gpu|worker|server|token|session|reservation|ablation)\.[a-z_]+)"', text
            )
        )
    written |= {f"job.{state}" for state in JobState if state.is_active or state.is_final}
    written |= {
        f"{kind}.{verb}" for kind in ("token", "session") for verb in ("created", "revoked")
    }
    documented = (root.parent.parent / "docs" / "reference" / "events.md").read_text()
    missing = {kind for kind in written if f"`{kind}`" not in documented}
    assert {"gpu.drained", "job.changed", "worker.lost"} <= written
    assert not missing


def test_gpus_show_the_whole_box(api, desk):
    """As the wire model has it."""
    box = Box.model_validate_json(api.get("/api/v1/gpus").content)
    assert (len(box.gpus), box.stale, box.source) == (8, False, "simulated")


def test_drain_and_undrain_answer_with_the_gpu(api):
    """By index or UUID, with and without a reason."""
    gpu = api.post("/api/v1/gpus/3/drain", json={"reason": "new fan"}).json()
    assert (gpu["uuid"], gpu["draining"], gpu["drain_reason"]) == ("GPU-3", True, "new fan")
    assert api.post("/api/v1/gpus/GPU-4/drain").json()["draining"] is True
    assert api.post("/api/v1/gpus/3/undrain").json()["draining"] is False
    assert api.post("/api/v1/gpus/3/drain", json={"why": "x"}).status_code == 422


def test_users_are_summed_up(api, desk):
    """GPUs held now, GPU hours of the last week."""
    desk.submit(Caller(1, "daemon"), gpus=4)
    desk.clock.now += 1800
    desk.worker.tell()
    desk.submit(gpus=8)
    by_name = {user["user"]: user for user in api.get("/api/v1/users").json()["users"]}
    assert by_name["daemon"] == {
        "user": "daemon",
        "running": 1,
        "pending": 0,
        "gpus": 4,
        "gpu_hours_7d": 2.0,
        "idle_gpu_hours_7d": None,
        "utilization_percent_7d": None,
    }
    (other,) = (user for name, user in by_name.items() if name != "daemon")
    assert (other["running"], other["pending"], other["gpus"]) == (0, 1, 0)


def test_settings_tell_value_origin_and_meaning(api):
    """None of them is without a description."""
    shown = api.get("/api/v1/settings").json()["settings"]
    by_name = {setting["name"]: setting for setting in shown}
    assert by_name["listen"]["value"] == "127.0.0.1:8787"
    assert by_name["listen"]["environment"] == "BERTH_LISTEN"
    assert all(len(setting["description"]) > 10 for setting in shown)


def test_health_and_readiness(api, desk):
    """Ready means that jobs can start; the problem is named."""
    assert api.get("/healthz").json()["status"] == "ok"
    assert api.get("/readyz").status_code == 200
    desk.clock.now += 11
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert "worker" in answer.json()["problems"][0]
    assert api.get("/healthz").status_code == 200


def test_prometheus_metrics_are_those_of_the_moment(api, desk):
    """Jobs by state and holders by GPU; no user and no command in them."""
    desk.submit(gpus=1, name="secretive")
    desk.submit(hold=True)
    text = api.get("/metrics").text
    assert 'berth_jobs{state="held"} 1.0' in text
    assert 'berth_gpu_holder{gpu="0",kind="job",uuid="GPU-0"} 1.0' in text
    assert 'berth_gpu_holder{gpu="1",kind="free",uuid="GPU-1"} 1.0' in text
    assert 'berth_gpu_outsiders{gpu="0",uuid="GPU-0"} 0.0' in text
    assert "berth_worker_up 1.0" in text
    assert "secretive" not in text


class TestDashboard:
    """The files of the built dashboard."""

    @pytest.fixture
    def build(self, tmp_path):
        """A build with a page and one asset."""
        (tmp_path / "assets").mkdir()
        (tmp_path / "index.html").write_text("<!doctype html>page")
        (tmp_path / "assets" / "app-1a2b.js").write_text("code")
        (tmp_path.parent / "outside.txt").write_text("secret")
        return Dashboard(tmp_path)

    def test_its_own_paths_give_the_page(self, build):
        """It finds its way itself; a new build is seen at once."""
        for path in ("/", "/jobs/3", "/gpus"):
            answer = build.respond(path)
            assert Path(answer.path).name == "index.html"
            assert answer.headers["cache-control"] == "no-cache"
            assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_assets_are_kept_for_ever(self, build):
        """Their names change with their content."""
        answer = build.respond("/assets/app-1a2b.js")
        assert answer.headers["cache-control"].endswith("immutable")
        assert answer.media_type == "text/javascript"

    @pytest.mark.parametrize(
        "path",
        [
            "/assets/none.js",
            "/favicon.ico",
            "/api/v1/none",
            "/../outside.txt",
            "/assets/../../outside.txt",
            "//etc/passwd.txt",
            "/a\0.js",
        ],
    )
    def test_what_is_missing_or_outside_is_not_there(self, build, path):
        """No path leads out of the build."""
        assert build.respond(path) is None

    def test_without_a_build_a_page_says_how_to_get_one(self, api, monkeypatch):
        """Rather than a bare 404."""
        monkeypatch.setattr("berth_server.web.static.folder", lambda: None)
        answer = api.get("/")
        assert answer.status_code == 200
        assert "make web" in answer.text


@pytest.fixture(scope="module")
def document():
    """The description of the interface as the command prints it."""
    done = subprocess.run(
        [sys.executable, "-m", "berth_server.openapi"], check=True, capture_output=True
    )
    return json.loads(done.stdout)


class TestOpenApi:
    """The description of the interface."""

    def test_every_reference_leads_somewhere(self, document):
        """So that generators can read it."""
        text = json.dumps(document)
        for name in set(re.findall(r"#/components/schemas/(\w+)", text)):
            assert name in document["components"]["schemas"], name

    def test_every_route_says_what_it_does(self, document):
        """A summary and a description each, and every parameter its own."""
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert operation.get("summary"), (method, path)
                assert operation.get("description"), (method, path)
                for parameter in operation.get("parameters", ()):
                    assert parameter.get("description"), (method, path, parameter["name"])

    def test_bodies_and_errors_are_described(self, document):
        """Although the routes read their bodies themselves."""
        submit = document["paths"]["/api/v1/jobs"]["post"]
        assert "JobSpec" in json.dumps(submit["requestBody"])
        assert "Problem" in json.dumps(submit["responses"]["default"])
        assert "HTTPValidationError" not in json.dumps(document)

    def test_every_field_has_a_text(self, document):
        """Users read it there."""
        bare = [
            f"{name}.{field}"
            for name, schema in document["components"]["schemas"].items()
            for field, facts in schema.get("properties", {}).items()
            if "description" not in facts
        ]
        assert not bare

    def test_every_route_is_in_the_reference(self, document):
        """docs/reference/rest.md knows each path that users may ask."""
        text = Path("docs/reference/rest.md")
        text = (Path(berth_server.__file__).parents[2] / text).read_text()
        for path in document["paths"]:
            plain = re.sub(r"\{(job|ablation|token|reservation)_id\}", "{id}", path)
            last = plain.rpartition("/")[2]
            known = plain in text or (
                plain.startswith("/api/v1/jobs/{id}/") and f"`{last}`" in text
            )
            assert known or path.startswith("/internal"), path
