"""Dashboard routes beyond jobs and GPUs: search, markers, history, files, streams."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.protocol.gpus import BoxSnapshot, GpuSnapshot
from berth_server.service.gpus.telemetry import COARSE, FINE, GpuTelemetry
from berth_server.service.logs import scanner

NOW = 1_800_000_000.0
MIB = 1 << 20


def search(api, **params):
    answer = api.get("/api/v1/jobs/1/log/search", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestSearch:
    """`/log/search`."""

    def test_finds_text_without_minding_case_or_colour(self, api, run_dir):
        """As a reader sees it: colours are no part of the text, the case is not minded."""
        (run_dir / "output.log").write_bytes(b"one\n\x1b[31mErr\x1b[0mOR: two\nthree\n")
        assert search(api, q="error: TWO") == {
            "attempt": "1.1",
            "matches": [{"number": 1, "text": "ErrOR: two"}],
            "next": None,
        }

    def test_text_is_not_an_expression_unless_asked(self, api, run_dir):
        """A dot is a dot."""
        (run_dir / "output.log").write_bytes(b"1.5\n125\n")
        assert [m["number"] for m in search(api, q="1.5")["matches"]] == [0]
        assert [m["number"] for m in search(api, q="1.5", regex=True)["matches"]] == [0, 1]

    def test_what_a_progress_bar_has_overwritten_is_not_there(self, api, run_dir):
        """Only what a terminal still shows is found."""
        (run_dir / "output.log").write_bytes(b" 10%|#\r 50%|##\r100%|###\n")
        assert search(api, q="50%")["matches"] == []
        assert search(api, q="100%")["matches"] == [{"number": 0, "text": "100%|###"}]

    def test_a_limit_is_gone_on_from(self, api, run_dir):
        """Page by page every matching line comes once."""
        (run_dir / "output.log").write_text("".join(f"line {n}\n" for n in range(25)))
        numbers, cursor = [], None
        for _ in range(10):
            params = {"q": "line", "limit": 7, **({"cursor": cursor} if cursor else {})}
            page = search(api, **params)
            numbers += [m["number"] for m in page["matches"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert numbers == list(range(25))

    def test_a_hostile_expression_costs_a_child_not_the_server(self, api, run_dir):
        """It is stopped after seconds, with a sentence."""
        (run_dir / "output.log").write_bytes(b"a" * 5000 + b"\n")
        answer = api.get(
            "/api/v1/jobs/1/log/search", params={"q": "(a|aa)+$b", "regex": True, "limit": 1}
        )
        assert answer.status_code == 422
        assert "simpler" in answer.json()["detail"]

    @pytest.mark.parametrize("params", [{"q": "(", "regex": True}, {"q": "x", "cursor": "no"}])
    def test_what_makes_no_sense_is_refused(self, api, run_dir, params):
        """A broken expression, a cursor that is none."""
        (run_dir / "output.log").write_bytes(b"x\n")
        answer = api.get("/api/v1/jobs/1/log/search", params=params)
        assert answer.status_code == 422
        assert answer.json()["detail"].endswith(".")

    def test_before_the_first_line_nothing_is_found(self, api, run_dir):
        """A log that is not there yet is empty, not missing."""
        assert search(api, q="x")["matches"] == []


@given(
    pieces=st.lists(
        st.sampled_from([b"\n", b"a", b"b\r", b"ab", b"\x1b[1m", b"c" * 9]), max_size=60
    ),
    limit=st.integers(1, 5),
)
def test_a_search_finds_what_reading_would(tmp_path_factory, pieces, limit):
    """However the log is cut into blocks and pages: the shown lines with the text, in order."""
    path = tmp_path_factory.mktemp("scan") / "output.log"
    path.write_bytes(b"".join(pieces))
    expected = []
    for number, line in enumerate(path.read_bytes().split(b"\n")):
        shown = line.replace(b"\x1b[1m", b"").rstrip(b"\r")
        if b"a" in shown[shown.rfind(b"\r") + 1 :]:
            expected.append(number)
    handle = os.open(path, os.O_RDONLY)
    block, scanner._BLOCK = scanner._BLOCK, 7
    try:
        found, place = [], (0, 0)
        while place is not None:
            ask = {"offset": place[0], "line": place[1], "limit": limit, "slice_s": 5.0}
            answer = scanner.scan(handle, {"text": "a", "regex": False, **ask})
            found += [number for number, _ in answer["matches"]]
            place = answer["next"]
    finally:
        scanner._BLOCK = block
        os.close(handle)
    assert found == expected


@given(
    text=st.text("aAbBdDzZ09^._- \n", max_size=40),
    expression=st.lists(
        st.sampled_from(
            [
                "a",
                "B",
                "d",
                r"\d",
                r"\D",
                r"\w",
                r"\W",
                r"\.",
                r"\x41",
                "[a-z]",
                "[A-Z]",
                "[Z-a]",
                "[^a-z0-9]",
                "[^b]",
                "[.-_]",
                ".",
                "^",
                "$",
                "a*",
                "(?:b|D)",
                "(?i:a)",
                "(a|z)",
            ]
        ),
        min_size=1,
        max_size=5,
    ).map("".join),
)
def test_the_quick_way_finds_what_ignoring_case_finds(text, expression):
    """Searching in lower case is an optimisation without a visible difference."""
    needle = scanner.Needle(expression, regex=True)
    slow = re.compile(expression.encode(), re.IGNORECASE | re.MULTILINE).search(text.encode())
    assert needle.find(needle.hay(text.encode())) == (-1 if slow is None else slow.start())


class TestMarkers:
    """`/log/markers`."""

    def test_the_first_traceback_and_the_last_checkpoint(self, api, run_dir):
        """Looked for on as the log grows, each byte once."""
        log = run_dir / "output.log"
        log.write_text("[rank0]: hi\n[rank3]: hi\nSaving model checkpoint to out/checkpoint-5\n")
        first = api.get("/api/v1/jobs/1/log/markers").json()
        assert (first["first_traceback"], first["last_checkpoint"]) == (None, 2)
        assert first["ranks"] == [0, 3]
        with log.open("a") as out:
            out.write("Traceback (most rec")
        api.get("/api/v1/jobs/1/log/markers")
        with log.open("a") as out:
            out.write("ent call last):\nboom\nTraceback (most recent call last):\ncheckpoint-6\n")
        then = api.get("/api/v1/jobs/1/log/markers").json()
        assert (then["first_traceback"], then["last_checkpoint"]) == (3, 6)

    def test_a_log_that_begins_again_is_read_again(self, api, run_dir):
        """A log that became shorter is another log."""
        log = run_dir / "output.log"
        log.write_text("x\n" * 100 + "Traceback (most recent call last):\n")
        assert api.get("/api/v1/jobs/1/log/markers").json()["first_traceback"] == 100
        log.write_text("fine\n")
        assert api.get("/api/v1/jobs/1/log/markers").json()["first_traceback"] is None


def test_the_download_is_every_byte(api, run_dir):
    """Whatever the bytes, as a file to keep."""
    data = os.urandom(3 * MIB + 17)
    (run_dir / "output.log").write_bytes(data)
    answer = api.get("/api/v1/jobs/1/log/download")
    assert answer.content == data
    assert answer.headers["content-disposition"] == 'attachment; filename="berth-1.1.log"'
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_lines_as_shown_are_what_a_terminal_leaves(api, run_dir):
    """A progress bar of hours is one short line."""
    bar = b"".join(b"\r%d/100000" % n for n in range(100_000))
    (run_dir / "output.log").write_bytes(bar + b"\ndone\r\n")
    page = api.get("/api/v1/jobs/1/log/lines?as_shown=true").json()
    assert page["lines"] == ["99999/100000", "done"]


def test_the_tail_ends_with_the_attempt(api, desk, run_dir):
    """The newest lines, then `end`; of a flood only the newest."""
    (run_dir / "output.log").write_text("".join(f"line {n}\n" for n in range(2000)))
    desk.worker.ended("1.1")
    with api.stream("GET", "/api/v1/jobs/1/log/tail") as stream:
        events = "".join(stream.iter_text()).split("\n\n")
    lines = next(e for e in events if "event: lines" in e)
    slice_ = json.loads(lines.split("data: ")[1])
    assert (slice_["first"], len(slice_["lines"]), slice_["total"]) == (1500, 500, 2000)
    assert any("event: end" in e for e in events)


def test_files_are_listed_and_links_are_not(api, run_dir):
    """Names, sizes, folders; a link could lead anywhere."""
    (run_dir / "output.log").write_bytes(b"12345")
    (run_dir / "checkpoints").mkdir()
    (run_dir / "passwords").symlink_to("/etc/shadow")
    files = api.get("/api/v1/jobs/1/files").json()["files"]
    assert [(f["name"], f["size_bytes"]) for f in files] == [("checkpoints/", 0), ("output.log", 5)]


def test_the_queue_comes_in_its_own_order(api, desk):
    """The next to start first, whatever was submitted when."""
    desk.submit(gpus=8)
    low = desk.submit(gpus=8)
    high = desk.submit(gpus=8, priority=100)
    jobs = api.get("/api/v1/queue").json()["jobs"]
    assert [(job["id"], job["position"]) for job in jobs] == [(high, 1), (low, 2)]
    assert len(api.get("/api/v1/queue?limit=1").json()["jobs"]) == 1


def test_jobs_are_found_by_text(api, desk):
    """A part of the name or of the command, or the id; wildcards are plain characters."""
    first = desk.submit(name="Persona run", hold=True)
    second = desk.submit(command="echo eval_100%", hold=True)

    def ids(text: str) -> list[int]:
        return [job["id"] for job in api.get("/api/v1/jobs", params={"q": text}).json()["jobs"]]

    assert ids("persona") == [first]
    assert ids("EVAL_100%") == [second]
    assert ids("%") == [second]
    assert ids("l_1") == [second]
    assert ids("!") == ids("eval!100") == ids("eval1100") == []
    assert ids(f"#{first}") == [first]
    assert ids("nothing like it") == []


def _snapshot(now: float, percent: int | None, used_mib: int = 1024) -> BoxSnapshot:
    gpu = GpuSnapshot(
        uuid="GPU-0/..",
        index=0,
        name="x",
        memory_total_bytes=80 << 30,
        memory_used_bytes=used_mib * MIB,
        utilization_percent=percent,
        temperature_c=40,
        power_w=123.4,
    )
    return BoxSnapshot(taken_at=datetime.fromtimestamp(now, UTC), source="simulated", gpus=(gpu,))


class TestHistory:
    """The rings."""

    def test_what_was_seen_comes_back_and_gaps_stay_gaps(self, tmp_path):
        """A value per step; null where there is no sample or the GPU does not report it."""
        history = GpuTelemetry(tmp_path / "history")
        for second, percent in ((0, 50), (5, None), (20, 70)):
            history.take(_snapshot(NOW + second, percent), NOW + second)
        found = history.read(["GPU-0/.."], (NOW, NOW + 20), 100, now=NOW + 20)
        series = found.gpus["GPU-0/.."]
        assert found.step_s == FINE.step_s
        assert series.utilization_percent == [50, None, None, None, 70]
        assert series.power_w == [123, 123, None, None, 123]
        assert series.memory_used_bytes[0] == 1024 * MIB
        assert {p.parent for p in tmp_path.rglob("*s")} == {tmp_path / "history"}

    def test_longer_spans_are_means(self, tmp_path):
        """Thinned evenly to the points asked for."""
        history = GpuTelemetry(tmp_path / "history")
        for step in range(12):
            history.take(_snapshot(NOW + 5 * step, step * 5), NOW + 5 * step)
        found = history.read(["GPU-0/.."], (NOW, NOW + 55), 3, now=NOW + 55)
        assert found.gpus["GPU-0/.."].utilization_percent == [7.5, 27.5, 47.5]
        assert found.step_s == 20

    def test_a_day_is_kept_finely_and_a_month_coarsely(self, tmp_path):
        """Samples overwritten in the fine ring are still in the coarse one."""
        history = GpuTelemetry(tmp_path / "history")
        history.take(_snapshot(NOW, 80), NOW)
        later = NOW + 2 * FINE.reach_s
        history.take(_snapshot(later, 10), later)
        fresh = history.read(["GPU-0/.."], (later - 60, later), 100, now=later)
        assert 80 not in fresh.gpus["GPU-0/.."].utilization_percent
        old = history.read(["GPU-0/.."], (NOW - 240, NOW + 240), 100, now=later)
        assert old.step_s == COARSE.step_s
        assert 80 in old.gpus["GPU-0/.."].utilization_percent

    def test_files_never_grow_beyond_the_ring(self, tmp_path):
        """Fixed size per GPU: 12 bytes per record."""
        history = GpuTelemetry(tmp_path / "history")
        for turn in range(4):
            now = NOW + turn * COARSE.reach_s + turn * 7777
            history.take(_snapshot(now, 1), now)
        sizes = {path.suffix: path.stat().st_size for path in (tmp_path / "history").iterdir()}
        assert sizes[".5s"] <= 12 * FINE.slots
        assert sizes[".120s"] <= 12 * COARSE.slots

    def test_a_box_without_history_is_empty(self, api, desk):
        """Before the first sample there are times without values."""
        desk.worker.tell()
        found = api.get("/api/v1/gpus/history?minutes=1&points=12").json()
        assert set(found["gpus"]) == {f"GPU-{i}" for i in range(8)}
        assert set(found["gpus"]["GPU-0"]["power_w"]) == {None}
