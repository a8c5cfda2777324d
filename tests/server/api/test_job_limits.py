"""Bounds of a job's values, of a job as a whole and of a list of jobs."""

from __future__ import annotations

import json

import pytest
from tests.server.daemons import SPEC

from berth.protocol.specs import JobSpec
from berth_server.api.job_list import pieces
from berth_server.api.problems import ApiError
from berth_server.api.routes.submit import parse_specs

MIB = 1 << 20


LONG = {
    "label": {"labels": {"a": "x" * 1001}},
    "labels": {"labels": {f"a{i}": "x" for i in range(101)}},
    "variable": {"env": {"A": "x" * 131_072}},
    "variables": {"env": {f"A{i}": "x" for i in range(1001)}},
    "name of a variable": {"env": {"A" * 201: "x"}},
    "command": {"command": "x" * 131_072},
    "word of a command": {"command": ["x", "y" * 131_072]},
    "words of a command": {"command": ["x"] * 10_001},
    "folder": {"workdir": "/" + "x" * 4096},
    "interpreter": {"python": "/" + "x" * 4096},
}


@pytest.mark.parametrize("name", LONG)
def test_values_of_a_job_have_a_longest(api, name):
    """What no program could be given anyway, and labels that fill everybody's lists."""
    answer = api.post("/api/v1/jobs", json=SPEC | LONG[name])
    assert answer.status_code == 422
    assert "at most" in answer.json()["detail"]


def test_a_job_has_a_largest_size_in_all(api):
    """Alone, in a list and as a dry run."""
    big = SPEC | {"env": {f"A{i}": "x" * 130_000 for i in range(10)}}
    for body in (big, [SPEC, big]):
        answer = api.post("/api/v1/jobs", json=body)
        assert answer.status_code == 413
        assert "1024 KiB" in answer.json()["detail"]
    assert api.get("/api/v1/jobs").json()["jobs"] == []


def test_a_list_has_a_most(api):
    """All or none, and the sentence says how many."""
    answer = api.post("/api/v1/jobs", json=[SPEC] * 2001)
    assert answer.status_code == 413
    assert "2000 jobs" in answer.json()["detail"]
    assert api.get("/api/v1/jobs").json()["jobs"] == []


def test_a_page_of_long_jobs_ends_early_and_the_next_continues(api):
    """So that one user's environments do not fill everybody's answers."""
    body = SPEC | {"hold": True, "env": {f"A{i}": "x" * 120_000 for i in range(8)}}
    made = [api.post("/api/v1/jobs", json=body).json()["id"] for _ in range(9)]
    for query in ("", "&state=held&state=queued", f"&user={api.get('/api/v1/me').json()['user']}"):
        seen: list[int] = []
        cursor = ""
        while True:
            answer = api.get(f"/api/v1/jobs?limit=100{query}{cursor}")
            assert len(answer.content) < 6 * MIB
            page = answer.json()
            seen += [job["id"] for job in page["jobs"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == sorted(made, reverse=True)


def test_a_list_is_read_in_pieces_and_problems_keep_their_place():
    """The same specs come out, whatever the spaces between them."""
    jobs = [{"command": f"echo {i}", "env": {"A": "x" * 300}} for i in range(1000)]
    raw = json.dumps(jobs, indent=1).encode()
    found = list(pieces(raw, most_jobs=1000, most_bytes=MIB))
    assert len(found) > 3
    assert [one for _, piece in found for one in json.loads(piece)] == jobs
    assert [first for first, _ in found] == [
        sum(len(json.loads(piece)) for _, piece in found[:i]) for i in range(len(found))
    ]
    assert parse_specs(raw, 1000, MIB) == ([JobSpec(**one) for one in jobs], True)
    jobs[700]["gpus"] = -1
    with pytest.raises(ApiError) as refusal:
        parse_specs(json.dumps(jobs).encode(), 1000, MIB)
    assert "The 701st job of the list" in str(refusal.value)
    assert refusal.value.fields[0].field == "700.gpus"


@pytest.mark.parametrize(
    "raw",
    [b"[", b"[1", b"[,]", b"[{}", b"[{},]", b"[{}] x", b"[{} {}]", b"[\xff]", b"[" * 200_000,
     b"[" + b"9" * 10_000 + b"]", b"[nul]"],
)  # fmt: skip
def test_what_is_no_list_is_refused(raw):
    """In a sentence, whatever is wrong with it."""
    with pytest.raises(ApiError) as refusal:
        parse_specs(raw, 10, MIB)
    assert refusal.value.status in {400, 413, 422}
