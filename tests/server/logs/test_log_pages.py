"""Pages of a log: bytes and lines, safely, whatever a job wrote or put in its place."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth import better
from berth.protocol.metrics import MetricPoint
from berth_server.service.logs.metrics import thinned


def lines(api, **params):
    answer = api.get("/api/v1/jobs/1/log/lines", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_bytes_come_with_their_place(api, run_dir):
    """From the start, from an offset, from the end; past the end there is nothing."""
    (run_dir / "output.log").write_bytes(b"0123456789")
    for params, data, offset in (
        ({}, b"0123456789", 0),
        ({"offset": 4, "limit": 3}, b"456", 4),
        ({"offset": -3}, b"789", 7),
        ({"offset": -99}, b"0123456789", 0),
        ({"offset": 99}, b"", 10),
    ):
        answer = api.get("/api/v1/jobs/1/log", params=params)
        assert (answer.content, answer.headers["berth-log-offset"]) == (data, str(offset))
        assert answer.headers["berth-log-size"] == "10"
        assert answer.headers["berth-log-complete"] == "false"
        assert answer.headers["berth-attempt"] == "1.1"


def test_a_log_that_is_not_there_yet_is_empty(api, run_dir):
    """Before the job wrote anything, and before it has an attempt."""
    assert api.get("/api/v1/jobs/1/log").content == b""
    assert lines(api)["total"] == 0
    api.post("/api/v1/jobs", json={"command": "true", "workdir": "/", "hold": True})
    answer = api.get("/api/v1/jobs/2/log")
    assert (answer.status_code, answer.content) == (200, b"")
    assert api.get("/api/v1/jobs/2/log?attempt=1").status_code == 404


def test_a_log_that_was_deleted_is_told(api, desk, run_dir):
    """An attempt that has run had one: nothing at all would be no answer."""
    desk.worker.ended("1.1", 1)

    answer = api.get("/api/v1/jobs/1/log")

    assert answer.status_code == 404
    assert "was deleted" in answer.json()["detail"]


def test_lines_count_from_either_end(api, run_dir):
    """The last one counts although it is still growing."""
    (run_dir / "output.log").write_text("".join(f"line {i}\n" for i in range(2500)) + "growing")
    page = lines(api, **{"from": 2498, "count": 10})
    assert page["lines"] == ["line 2498", "line 2499", "growing"]
    assert (page["first"], page["total"], page["complete"]) == (2498, 2501, False)
    assert lines(api, **{"from": -2})["lines"] == ["line 2499", "growing"]
    assert lines(api, **{"from": 1000, "count": 1})["lines"] == ["line 1000"]
    assert lines(api, **{"from": 9999})["lines"] == []
    with (run_dir / "output.log").open("a") as log:
        log.write(" on\nmore\n")
    page = lines(api, **{"from": -2})
    assert (page["lines"], page["total"]) == (["growing on", "more"], 2502)


def test_bytes_that_are_no_text_and_endless_lines_do_no_harm(api, run_dir):
    """They show as U+FFFD, and cut after 64 KiB."""
    (run_dir / "output.log").write_bytes(b"\xff\xfe ok\r\n" + b"x" * 200_000 + b"\nend\n")
    page = lines(api)
    assert page["lines"][0] == "\ufffd\ufffd ok"
    assert len(page["lines"][1]) == 64 << 10
    assert page["lines"][2] == "end"


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=40), max_size=40),
    first=st.integers(-60, 60),
    count=st.integers(1, 60),
)
def test_any_log_reads_as_its_lines(tmp_path_factory, pieces, first, count):
    """Read in pieces as it grows, each page is what splitting the whole would give."""
    from berth_server.service.logs import pages, tail

    folder = tmp_path_factory.mktemp("log")
    log = pages.LogFile("1.1", str(folder), os.getuid(), complete=False)
    reader = pages.LineReader()
    (folder / "output.log").touch()
    whole = b""
    block, tail.BLOCK = tail.BLOCK, 5
    try:
        for piece in [b"", *pieces]:
            whole += piece
            with (folder / "output.log").open("ab") as out:
                out.write(piece)
            expected = whole.split(b"\n")
            if expected[-1] == b"":
                expected.pop()
            page = reader.read(log, first, count)
            start = max(0, len(expected) + first) if first < 0 else min(first, len(expected))
            wanted = [p.decode("utf-8", "replace").rstrip("\r") for p in expected]
            assert page.lines == wanted[start : start + count]
            assert (page.total, page.first, page.size_bytes) == (len(expected), start, len(whole))
    finally:
        tail.BLOCK = block


@pytest.mark.parametrize("trick", ["symlink", "hardlink", "pipe", "folder"])
def test_only_the_jobs_own_file_is_shown(api, run_dir, tmp_path, trick):
    """A user cannot have the server read something else in the log's place."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    place = run_dir / "output.log"
    if trick == "symlink":
        place.symlink_to(secret)
    elif trick == "hardlink":
        place.hardlink_to(secret)
    elif trick == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    for path in ("log", "log/lines", "metrics"):
        answer = api.get(f"/api/v1/jobs/1/{path}")
        assert answer.status_code == 403, path
        assert "hunter2" not in answer.text


class TestMetrics:
    """Curves."""

    def curve(self, api, **params):
        answer = api.get("/api/v1/jobs/1/metrics", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def test_come_from_the_runs_own_file(self, api, run_dir):
        """Points are flat; a line that is being written, and nonsense, are passed over."""
        (run_dir / "metrics.jsonl").write_text(
            '{"step": 1, "time": 5.5, "loss": 2.5, "note": "hi"}\n'
            "nonsense\n[1]\n"
            '{"step": 2, "loss": NaN, "eval": {"loss": 2}}\n{"step": 3, "lo'
        )
        curve = self.curve(api)
        assert curve["source"] == "metrics.jsonl"
        assert curve["names"] == ["eval/loss", "loss"]
        assert curve["points"] == [
            {"step": 1.0, "time": 5.5, "loss": 2.5},
            {"step": 2.0, "loss": None, "eval/loss": 2.0},
        ]

    def test_come_from_the_log_where_there_is_no_file(self, api, run_dir):
        """As the transformers Trainer prints them, old style and new."""
        (run_dir / "output.log").write_text(
            "Loading\n{'loss': 2.3, 'grad_norm': nan, 'epoch': 0.1}\n"
            " 10%|# | {'loss': '1.9', 'learning_rate': '1e-05', 'epoch': '0.2'}\n"
            "{'not': 'a metric'} {'epoch': 3}\n"
        )
        curve = self.curve(api)
        assert curve["source"] == "log"
        assert curve["points"] == [
            {"loss": 2.3, "grad_norm": None, "epoch": 0.1, "step": 0.1},
            {"loss": 1.9, "learning_rate": 1e-05, "epoch": 0.2, "step": 0.2},
        ]

    def test_are_empty_where_there_are_none(self, api, run_dir):
        """No file, no log, no attempt."""
        assert self.curve(api)["source"] == "none"
        api.post("/api/v1/jobs", json={"command": "true", "workdir": "/", "hold": True})
        assert api.get("/api/v1/jobs/2/metrics").json()["attempt"] is None

    def test_long_curves_are_thinned_with_both_ends_kept(self, api, run_dir):
        """Evenly."""
        (run_dir / "metrics.jsonl").write_text(
            "".join(f'{{"step": {i}, "loss": {1 / (i + 1)}}}\n' for i in range(5000))
        )
        curve = self.curve(api, max_points=11)
        assert [p["step"] for p in curve["points"]] == [round(i * 499.9) for i in range(11)]
        assert curve["total"] == 5000

    @given(count=st.integers(0, 300), most=st.integers(1, 300))
    def test_thinning_never_exceeds_and_keeps_the_end(self, count, most):
        """For any length and limit."""
        points: list[MetricPoint] = [{"step": float(i)} for i in range(count)]
        left = thinned(points, most)
        assert len(left) == min(count, most)
        assert left[-1:] == points[-1:]
        assert [p["step"] for p in left] == sorted({p["step"] for p in left})

    def test_thinning_keeps_what_few_points_carry(self):
        """An evaluation every hundred steps is not lost among ten thousand losses."""
        points: list[MetricPoint] = [
            {"step": float(i), "loss": 1.0, **({"eval_loss": 1.0} if i % 100 == 0 else {})}
            for i in range(10_000)
        ]
        left = thinned(points, 1000)
        assert len(left) == 1000
        assert sum("eval_loss" in point for point in left) == 100
        assert (left[0]["step"], left[-1]["step"]) == (0.0, 9999.0)

    def test_the_dashboard_knows_the_same_directions(self):
        """Table and command line call the same value the best."""
        curves = (
            Path(__file__).parents[3] / "clients" / "web" / "src" / "model" / "runs" / "curves.ts"
        )
        less, more = re.findall(r"/([\w|]+)/i\.test\(name\)", curves.read_text())
        assert (less, more) == (better.LESS.pattern, better.MORE.pattern)
        assert better.more_is_better("tokens_per_s")
        assert not better.more_is_better("eval_loss")


def test_an_ablation_shows_its_runs_side_by_side(api, desk):
    """Varying labels, and each run's last and best values."""
    for name in ("profile_only", "profile_and_history"):
        labels = {"ablation": "night", "input": name, "model": "tiny"}
        spec = {"command": "true", "workdir": "/", "gpus": 1, "labels": labels}
        api.post("/api/v1/jobs", json=spec)
    for wanted, loss in zip(desk.server.cache.desired_state().attempts, (2.5, 1.5), strict=True):
        folder = Path(wanted.run_dir)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(f'{{"step": 4, "loss": {loss}}}\n')
    table = api.get("/api/v1/ablations/night").json()
    assert (table["varies"], table["metrics"]) == (["input"], ["loss"])
    assert [run["last"]["loss"] for run in table["runs"]] == [2.5, 1.5]
    assert [run["job"]["labels"]["input"] for run in table["runs"]] == [
        "profile_only",
        "profile_and_history",
    ]
    (one,) = api.get("/api/v1/ablations").json()["ablations"]
    assert (one["id"], one["jobs"], one["unfinished"], one["newest_job_id"]) == ("night", 2, 2, 2)
    assert api.get("/api/v1/ablations/day").status_code == 404


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000,
        b'{"loss": ' + b'{"a": ' * 60_000,
        b'{"loss": 1' + b"0" * 5000 + b"}",
        b'{"loss": "\\ud800"}',
        b"\xff" * 100,
        b'{"loss": {"a": {"b": {"c": 1}}}}',
        b"{" + b",".join(b'"%d": 1' % n for n in range(20_000)) + b"}",
    ],
    ids=["list", "objects", "long number", "surrogate", "bytes", "deep", "wide"],
)
def test_hostile_lines_of_metrics_leave_the_others(api, run_dir, line):
    """One line that cannot be parsed costs neither the curve nor any answer."""
    good = b'{"step": 1, "loss": 0.5}\n'
    (run_dir / "metrics.jsonl").write_bytes(line + b"\n" + good)
    answer = api.get("/api/v1/jobs/1/metrics")
    assert answer.status_code == 200, answer.text
    points = answer.json()["points"]
    assert points[-1] == {"step": 1.0, "loss": 0.5}
    assert len(points) <= 2
