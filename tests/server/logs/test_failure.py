"""Failure of an attempt on one page."""

from __future__ import annotations

from pathlib import Path

LOG = """[rank0]: loading
\x1b[31m[rank1]: loading\x1b[0m
[rank1]: Traceback (most recent call last):
[rank1]:   File "/srv/train.py", line 7, in <module>
[rank1]:     run()
[rank1]: ValueError: nothing left
launcher: rank 1 exited
"""
SPEC = {"workdir": "/", "gpus": 1, "name": "train"}


def end(desk, job: int, code: int) -> None:
    desk.worker.running(f"{job}.1")
    desk.worker.ended(f"{job}.1", code)


def test_a_failure_says_what_each_rank_wrote_last_and_what_was_changed(api, desk):
    """The traceback by itself, the lines by rank, the fields that differ from the last success."""
    for lr in ("1", "2"):
        fields = {"command": f"train --lr {lr}", "env": {"LR": lr, "SAME": "x"}}
        api.post("/api/v1/jobs", json=SPEC | fields)
    run_dir = next(
        Path(one.run_dir)
        for one in desk.server.cache.desired_state().attempts
        if one.attempt == "2.1"
    )
    run_dir.mkdir(parents=True)
    (run_dir / "output.log").write_text(LOG)
    end(desk, 1, 0)
    end(desk, 2, 1)
    answer = api.get("/api/v1/jobs/2/failure")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [line["number"] for line in found["traceback"]] == [2, 3, 4, 5]
    assert found["traceback"][-1]["text"] == "[rank1]: ValueError: nothing left"
    ranks = {one["rank"]: [line["number"] for line in one["lines"]] for one in found["ranks"]}
    assert ranks == {None: [6], 0: [0], 1: [1, 2, 3, 4, 5]}
    assert found["succeeded_job_id"] == 1
    assert {one["field"]: (one["before"], one["now"]) for one in found["differences"]} == {
        "command": ("train --lr 1", "train --lr 2"),
        "env.LR": ("1", "2"),
    }
    assert found["same_outcome_7d"] == 0


def test_without_a_log_or_a_success_the_page_is_there(api, desk):
    """A job that never started has neither."""
    api.post("/api/v1/jobs", json=SPEC | {"command": "true", "hold": True})
    found = api.get("/api/v1/jobs/1/failure").json()
    assert (found["traceback"], found["ranks"], found["differences"]) == ([], [], [])
    assert found["succeeded_job_id"] is None
    assert api.get("/api/v1/jobs/9/failure").status_code == 404


def test_a_file_of_the_job_is_read_by_its_owner_alone(rest, desk):
    """Never Berth's own records, a link, or a path out of the folder."""
    with rest.client(1) as api:
        job = api.post("/api/v1/jobs", json=SPEC | {"command": "true"}).json()["id"]
    run_dir = Path(desk.server.cache.desired_state().attempts[0].run_dir)
    (run_dir / "files").mkdir(parents=True)
    (run_dir / "files" / "notes.txt").write_text("hello")
    (run_dir / "spec.json").write_text("secret")
    (run_dir / "files" / "link").symlink_to(run_dir / "spec.json")
    where = f"/api/v1/jobs/{job}/files"
    with rest.client(0) as admin:
        found = admin.get(f"{where}/files/notes.txt")
        assert (found.status_code, found.text) == (200, "hello")
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        for name in ("spec.json", "files/../spec.json", "files/%2e%2e/spec.json", "files/none"):
            assert admin.get(f"{where}/{name}").status_code == 404, name
        assert admin.get(f"{where}/files/link").status_code == 403
    with rest.client(2) as other:
        assert other.get(f"{where}/files/notes.txt").status_code == 403
