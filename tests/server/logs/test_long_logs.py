"""Logs and curves of hostile length: the work is bounded, and what is shown is right."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from tests.server.ablations.test_early_stop import MEDIAN, make, writes
from tests.server.jobs.test_snapshots import repository, spec  # noqa: F401 - a fixture

from berth_server.service.ablations.early_stopping import EarlyStops, on_early_stop
from berth_server.service.logs import curves, pages, tail
from berth_server.service.logs.metrics import printed_points, read_metrics
from berth_server.service.logs.pages import LineReader, LogFile

MIB = 1 << 20


@pytest.fixture
def log(tmp_path):
    """A log file, and how it is asked for."""
    (tmp_path / "output.log").touch()
    return tmp_path / "output.log", LogFile("1.1", str(tmp_path), os.getuid(), complete=True)


class Reads:
    """Counts the bytes that are read from files."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        real = os.pread

        def counted(handle, size, place):
            data = real(handle, size, place)
            self.bytes += len(data)
            return data

        monkeypatch.setattr(pages.os, "pread", counted)


@pytest.mark.parametrize("as_shown", [False, True])
def test_a_line_of_100_megabytes_is_opened_by_its_ends(log, monkeypatch, as_shown):
    """After it was counted once, a page reads a few blocks of it, not all."""
    path, file = log
    with path.open("wb") as out:
        out.write(b"first\n")
        for _ in range(100):
            out.write(b"step 1/100 \r" * (MIB // 12))
        out.write(b"\rdone\nlast\n")
    reader = LineReader()
    reader.read(file, 0, 1)
    reads = Reads(monkeypatch)
    page = reader.read(file, 0, 10, as_shown=as_shown)
    assert reads.bytes < 2 * MIB
    assert page.total == 3
    assert page.lines[0] == "first"
    assert page.lines[2] == "last"
    if as_shown:
        assert page.lines[1] == "done"
    else:
        assert len(page.lines[1]) <= 64 << 10
        assert page.lines[1].startswith("step 1/100 \r")
    reads.bytes = 0
    assert reader.read(file, -1, 5).lines == ["last"]
    assert reads.bytes < 2 * MIB


def test_an_open_line_that_only_grows_shows_its_end(log):
    """A progress bar of hours has not ended its line: what it wrote last is shown."""
    path, file = log
    path.write_bytes(b"begin\n" + b"\r   1%" * 200_000 + b"\r 99%")
    page = LineReader().read(file, -1, 5, as_shown=True)
    assert (page.first, page.lines) == (1, [" 99%"])


def test_pages_of_any_lines_are_the_lines(log):
    """Longer and shorter than a block, empty ones, with and without a last line end."""
    path, file = log
    dice = random.Random(7)
    for _ in range(12):
        sizes = [
            dice.choice((0, 1, 50, 3000, tail.BLOCK - 1, tail.BLOCK, 700_000)) for _ in range(30)
        ]
        wanted = [bytes([97 + i % 26]) * size for i, size in enumerate(sizes)]
        content = b"\n".join(wanted) + dice.choice((b"", b"\n"))
        path.unlink()
        path.write_bytes(content)
        expected = content.split(b"\n")
        if expected[-1] == b"":
            expected.pop()
        reader = LineReader()
        for first in (0, 1, 7, len(expected) - 1, len(expected), -3):
            page = reader.read(file, first, 9)
            start = max(0, len(expected) + first) if first < 0 else min(first, len(expected))
            shown = [line[: 64 << 10].decode() for line in expected[start : start + 9]]
            assert (page.first, page.lines) == (start, shown)


def test_an_answer_with_lines_has_a_most_bytes(log):
    """The page ends, and the next one continues."""
    path, file = log
    path.write_bytes(b"".join(b"%d " % i + b"x" * 60_000 + b"\n" for i in range(100)))
    page = LineReader().read(file, 0, 100, most_bytes=MIB)
    assert 10 < len(page.lines) < 20
    following = LineReader().read(file, len(page.lines), 1)
    assert following.lines[0].startswith(f"{len(page.lines)} ")


PRINTED = [
    (b"{'loss': 2.31, 'epoch': 0.1}", {"loss": 2.31, "epoch": 0.1, "step": 0.1}),
    (b"{'loss': '2.31', 'step': 4}", {"loss": 2.31, "step": 4.0}),
    (b"{'loss': nan, 'grad_norm': -inf, 'step': 1e3}", {"loss": None, "grad_norm": None, "step": 1000.0}),
    (b"{'loss': None, 'lrs': [1, 2], 'pair': (1, 2), 'fp16': True}", {"loss": None}),
    (b'{\'loss\': 1, "name": "run 1"}', {"loss": 1.0}),
    (b"  noise {'train/loss': 1, }", {"train/loss": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "point"), PRINTED)
def test_printed_dictionaries_are_read_as_before(line, point):
    """Numbers, numbers as text, gaps; what is no number is left out."""
    assert printed_points(line) == [point]


@pytest.mark.parametrize(
    "line",
    [b"{'loss': 1" + b"+1" * 1_000_000 + b"}", b"{'loss': tensor(2.3)}", b"{'loss': x()}",
     b"{'loss': 1+1}", b"{'loss': [[1]]}", b"{'loss': 1 'step': 2}", b"{'lo\\'ss': 1}",
     b"{" + b", ".join(b"'loss%d': 1" % i for i in range(400_000)) + b"}"],
)  # fmt: skip
def test_other_dictionaries_are_passed_over(line):
    """Nothing is evaluated, and long lines are not looked into."""
    assert printed_points(line) == []


def test_an_answer_with_metrics_is_bounded(tmp_path):
    """However many names a job makes up, and however many points."""
    lines = [
        json.dumps({"step": i, **{f"m{i * 7 + j}": 1 for j in range(200)}}) for i in range(2000)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    class Record:
        run_dir = str(tmp_path)
        id = "1.1"

    found = read_metrics(1, Record(), os.getuid(), 20_000)
    assert len(found.names) == 500
    assert sum(len(point) for point in found.points) <= 200_000
    assert found.total == 2000


def test_one_job_that_cannot_be_read_leaves_the_rule_to_the_others(api, desk, monkeypatch):
    """Early stopping goes on for each other run, and for each other ablation."""
    ids = make(api, 5, MEDIAN)
    for job_id in ids:
        desk.worker.running(f"{job_id}.1")
    for job_id, value in zip(ids[:4], (1.0, 1.0, 9.0, 1.0), strict=True):
        writes(desk, job_id, value, value, value)
    real = curves._Followed.read

    def failing(self, rule, run_dir, uid):
        if f"/{ids[4]}/" in run_dir:
            raise RuntimeError("hostile")
        real(self, rule, run_dir, uid)

    monkeypatch.setattr(curves._Followed, "read", failing)
    early = EarlyStops()
    (watched,) = early.watched(desk.server)
    ends = early.read(watched)
    on_early_stop(desk.server, watched, ends)
    assert set(ends) == {ids[2]}


def test_names_that_are_no_text_do_not_hinder_a_snapshot(api, repository):  # noqa: F811
    """An ignored file of any name is linked, and shown with a mark for what is no letter."""
    name = os.fsencode(repository / "data") + b"\xff\xfe.bin"
    Path(os.fsdecode(name)).touch()
    (repository / ".gitignore").write_text("data*\n*.bin\n__pycache__/\n")
    answer = api.post("/api/v1/jobs", json=spec(repository / "runs"))
    assert answer.status_code == 201, answer.text
    (shown,) = [
        one for one in answer.json()["snapshot"]["linked"] if one.endswith(".bin") and "data" in one
    ]
    assert "?" in shown or "\ufffd" in shown
