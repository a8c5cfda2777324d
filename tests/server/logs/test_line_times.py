"""Time index of a log: when each line was written."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from berth import jobfiles, logtimes
from berth_worker.attempts.log_growth import LogGrowth


def times(api, **params) -> list[float | None]:
    answer = api.get("/api/v1/jobs/1/log/lines", params={"times": True, **params})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found["times"]) == len(found["lines"])
    return found["times"]


def test_a_line_has_the_second_in_which_it_was_whole(api, run_dir, monkeypatch):
    """As the worker saw the log grow; what it has not seen yet has none."""
    growth = LogGrowth()
    now = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    log = run_dir / "output.log"
    for text in ("one\ntwo\nthr", "ee\n", "four\n"):
        with log.open("a") as out:
            out.write(text)
        growth.look(run_dir)
        growth.look(run_dir)
        now += 1
    with log.open("a") as out:
        out.write("five\n")
    begin = 1_800_000_000.0
    assert times(api) == [begin, begin, begin + 1, begin + 2, None]
    assert times(api, **{"from": -2}) == [begin + 2, None]
    assert times(api, **{"from": 1, "count": 2}) == [begin, begin + 1]
    assert api.get("/api/v1/jobs/1/log/lines").json()["times"] == []


def test_a_restarted_worker_goes_on(run_dir, monkeypatch):
    """It writes no second record of the same size, and forgets logs that are gone."""
    log = run_dir / "output.log"
    log.write_text("a\n")
    first = LogGrowth()
    first.look(run_dir)
    second = LogGrowth()
    second.look(run_dir)
    assert (run_dir / logtimes.NAME).stat().st_size == 16
    log.write_text("a\nb\n")
    second.look(run_dir)
    assert (run_dir / logtimes.NAME).stat().st_size == 32
    second.forget(set())
    second.look(run_dir)
    assert (run_dir / logtimes.NAME).stat().st_size == 32


def test_another_file_in_its_place_is_not_read(api, run_dir, tmp_path):
    """A link is not followed; a line then has no time."""
    (run_dir / "output.log").write_text("a\n")
    (tmp_path / "other").write_bytes(b"x" * 32)
    (run_dir / logtimes.NAME).symlink_to(tmp_path / "other")
    assert times(api) == [None]
    LogGrowth().look(run_dir)
    assert (tmp_path / "other").read_bytes() == b"x" * 32


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    ends=st.lists(st.integers(1, 400), max_size=40),
)
def test_the_search_finds_what_a_walk_finds(tmp_path_factory, sizes, ends):
    """Whatever the log's growth."""
    folder = tmp_path_factory.mktemp("times")
    handle = jobfiles.open_folder(folder)
    assert handle is not None
    total, grown = 0, []
    for second, size in enumerate(sizes):
        total += size
        logtimes.append(handle, float(second), total)
        grown.append((float(second), total))
    index = os.open(folder / logtimes.NAME, os.O_RDONLY)
    found = logtimes.times_of(index, sorted(ends))
    os.close(index)
    os.close(handle)
    assert found == [
        next((time for time, size in grown if size >= end), None) for end in sorted(ends)
    ]
