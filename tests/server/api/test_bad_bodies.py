"""Bad input: one sentence that names the fix, whatever comes in."""

from __future__ import annotations

import os

import pytest

SPEC = {"command": "true", "workdir": "/"}
REFUSED = {
    "an unknown field": ({"gpu": 4}, "gpus"),
    "a negative count": ({"gpus": -1}, "gpus"),
    "more GPUs than the box has": ({"gpus": 99}, "at most 8"),
    "more memory than a card has": ({"gpu_memory": "100GiB"}, "80.0 GiB"),
    "a count as text": ({"gpus": "4"}, "gpus"),
    "both command and script": ({"script": "true"}, "exactly one"),
    "an empty command": ({"command": " "}, "empty"),
    "an empty list": ({"command": []}, "empty"),
    "an open quote": ({"command": "echo 'a"}, "closed"),
    "a missing script": ({"command": "python nowhere.py"}, "nowhere.py"),
    "a missing folder": ({"workdir": "/nowhere/at/all"}, "/nowhere/at/all"),
    "a relative folder": ({"workdir": "here"}, "absolute"),
    "a file for a folder": ({"workdir": "/etc/passwd"}, "not a folder"),
    "a folder with a nul": ({"workdir": "/\0"}, "NUL"),
    "a missing interpreter": ({"python": "/no/python"}, "/no/python"),
    "a folder without an interpreter": ({"python": "/etc"}, "environment"),
    "an unknown dependency": ({"depends_on": [4242]}, "4242"),
    "a dependency without sense": ({"depends_on": [0]}, "depends_on"),
    "a dependency beyond all numbers": ({"depends_on": [2**70]}, "depends_on"),
    "a strange duration": ({"time_limit": "soon"}, "12h"),
    "a limit of nothing": ({"time_limit": 0}, "leave it out for none"),
    "a name without end": ({"name": "x" * 300}, "at most 200 characters"),
    "a duration without end": ({"time_limit": 1e300}, "12h"),
    "a strange size": ({"gpu_memory": "much"}, "20GiB"),
    "a size beyond all cards": ({"gpu_memory": 2**70}, "memory size"),
    "a time without zone": ({"not_before": "2026-12-01T10:00:00"}, "zone"),
    "a name for a variable": ({"env": {"A B": "1"}}, "env"),
    "a number for a variable": ({"env": {"A": 1}}, "env"),
    "a nul in a variable": ({"env": {"A": "\0"}}, "NUL"),
    "a nul in the command": ({"command": ["a\0b"]}, "command"),
    "a priority without bounds": ({"priority": 10**6}, "priority"),
    "an unknown step": ({"on_oom": {"steps": ["pray"]}}, "halve_micro_batch"),
    "a field of a strange digit": ({"²": 1}, "²"),
    "a field of digits without end": ({"9" * 5000: 1}, "9999"),
    "a webhook that is none": ({"notify": ["ftp://x"]}, "notify"),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.replace(" ", "-"))
def test_each_mistake_gets_one_sentence(api, case):
    """problem+json whose sentence names the field or the fix; no job is made."""
    change, word = REFUSED[case]
    answer = api.post("/api/v1/jobs", json=SPEC | change)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert word.lower() in problem["detail"].lower(), problem
    assert problem["detail"][-1] in ".?"
    assert "\n" not in problem["detail"]
    assert problem["request_id"]
    assert problem["fields"]
    assert api.get("/api/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "JSON"),
        (b"   ", 400, "JSON"),
        (b"{not json", 400, "JSON"),
        (b"[{]", 400, "JSON"),
        (b'{"command": "\xff"}', 400, "JSON"),
        (b'{"command": "\\ud800"}', 400, "JSON"),
        (b"[]", 422, "job"),
        (b'"x"', 422, "job"),
        (b"3", 422, "job"),
        (b"null", 422, "job"),
        (b"[1]", 422, "object"),
        (b"[" * 100_000, 400, "JSON"),
    ],
)
def test_a_body_that_is_no_job_is_refused(api, body, status, word):
    """Broken JSON and wrong shapes alike."""
    answer = api.post("/api/v1/jobs", content=body)
    assert answer.status_code == status, answer.text
    assert word.lower() in answer.json()["detail"].lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/jobs/", 404),
        ("DELETE", "/api/v1/jobs", 405),
        ("GET", "/api/v1/jobs/abc", 422),
        ("GET", "/api/v1/jobs/0", 422),
        ("GET", "/api/v1/jobs/99999999999999999999", 422),
        ("GET", "/api/v1/jobs/5", 404),
        ("POST", "/api/v1/gpus/GPU-none/drain", 404),
        ("GET", "/api/v1/ablations/none", 404),
        ("GET", "/api/v1/events?after=-1", 422),
        ("DELETE", "/api/v1/tokens/12", 404),
    ],
)
def test_every_error_is_a_problem(api, method, path, status):
    """Also those that the framework makes."""
    answer = api.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("berth:")


def test_a_fault_of_our_own_tells_no_secrets(api, rest, monkeypatch):
    """500 with a request id, without a stack trace; the next request works."""

    def fail(*_: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr("berth_server.api.routes.gpus.show_box", fail)
    answer = api.get("/api/v1/gpus")
    assert answer.status_code == 500
    assert answer.json()["request_id"] in answer.json()["detail"]
    assert "hunter2" not in answer.text
    assert api.get("/api/v1/jobs").status_code == 200


def test_a_body_that_is_too_large_is_refused_unread(api):
    """By its announced length."""
    answer = api.post("/api/v1/jobs", content=b"x", headers={"content-length": str(1 << 40)})
    assert answer.status_code == 413


@pytest.mark.skipif(os.getuid() != 0, reason="only root can submit for others")
def test_folders_of_others_are_refused_when_the_user_may_not_enter(rest, tmp_path):
    """A root server looks with the submitter's eyes."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    spec = {"command": "true", "workdir": str(closed)}
    with rest.client(1) as api:
        answer = api.post("/api/v1/jobs", json=spec)
        assert answer.status_code == 422
        assert "may not enter" in answer.json()["detail"]
    with rest.client(0) as api:
        assert api.post("/api/v1/jobs", json=spec).status_code == 201


def test_the_bundled_trainer_needs_no_file(api):
    """`train_deepspeed.py` is brought along."""
    answer = api.post("/api/v1/jobs", json={"command": "python train_deepspeed.py", "workdir": "/"})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "address", ["http://[::", "http://host:99999/x", "http://:1/", "http://[x]/y"]
)
def test_a_notice_to_no_host_is_refused(api, rest, monkeypatch, address):
    """And one that an earlier version took does not spoil everybody's list."""
    answer = api.post("/api/v1/jobs", json=SPEC | {"hold": True, "notify": [address]})
    assert answer.status_code == 422
    assert "names no host" in answer.json()["detail"]
    monkeypatch.setattr("berth_server.service.jobs.check.host_of", len)
    job_id = rest.desk.submit(hold=True, notify=[address])
    listed = api.get("/api/v1/jobs").json()["jobs"]
    assert [(job["id"], job["notify"]) for job in listed] == [(job_id, ["http://…"])]


def test_paths_that_may_not_even_be_looked_at_are_refused(api, tmp_path, monkeypatch):
    """As some of /proc may not, also by root."""

    def shut(_: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_dir", shut)
    for more in ({"python": str(tmp_path)}, {"workdir": str(tmp_path)}):
        answer = api.post("/api/v1/jobs", json=SPEC | {"hold": True} | more)
        assert answer.status_code in {201, 422}
