"""Curves of runs: extremes survive thinning, zoom shows all, NaN and divergence are told."""

from __future__ import annotations

import json
from math import inf, isnan, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.protocol.metrics import MetricPoint
from berth_server.core.curve_health import trouble
from berth_server.service.logs.buckets import extremes_of
from berth_server.service.logs.columns import Columns
from berth_server.service.logs.curve_watch import CurveWatch, on_findings
from berth_server.service.logs.metrics import json_point, thinned


@pytest.fixture
def metrics(run_dir) -> Path:
    """The `metrics.jsonl` of a running job's attempt 1.1."""
    return run_dir / "metrics.jsonl"


def curves(api, **params):
    answer = api.get("/api/v1/jobs/1/curves", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def written(*points: dict[str, float]) -> str:
    return "".join(json.dumps(point) + "\n" for point in points)


def long_run(count: int, **at: dict[int, float]) -> str:
    """A run of `count` steps whose metrics have other values at some steps."""
    rows = [
        {"step": i, "time": 1e9 + i, **{name: odd.get(i, 1.0) for name, odd in at.items()}}
        for i in range(count)
    ]
    return written(*rows)


class TestExtremes:
    """What thinning keeps."""

    @pytest.mark.parametrize("points", [5, 60, 500])
    def test_a_spike_of_one_step_is_in_the_curve(self, api, metrics, points):
        """Up and down, of any metric, whatever the number of points."""
        metrics.write_text(long_run(5000, loss={1701: 5e8}, lr={3333: -7.0}, grad={4: 9.0}))
        found = curves(api, points=points)["curves"]
        assert max(found["loss"]["values"]) == 5e8
        assert found["loss"]["steps"][found["loss"]["values"].index(5e8)] == 1701
        assert min(found["lr"]["values"]) == -7.0
        assert max(found["grad"]["values"]) == 9.0
        assert all(len(one["values"]) <= points for one in found.values())
        assert (found["loss"]["steps"][0], found["loss"]["steps"][-1]) == (0, 4999)

    def test_points_of_a_run_keep_their_spikes_too(self, api, metrics):
        """As `/metrics` gives them, of fifty metrics at once."""
        odd = {f"m{i}": {100 + 7 * i: 1e6} for i in range(50)}
        metrics.write_text(long_run(3000, **odd))
        points = api.get("/api/v1/jobs/1/metrics", params={"max_points": 500}).json()["points"]
        assert len(points) == 500
        for i in range(50):
            assert {p["step"] for p in points if p[f"m{i}"] == 1e6} == {100 + 7 * i}

    @given(
        values=st.lists(st.floats(-1e9, 1e9) | st.just(nan) | st.just(inf), max_size=300),
        most=st.integers(0, 60),
    )
    def test_never_more_than_asked_for_and_the_extremes_among_them(self, values, most):
        """Of any values."""
        values = [nan if value == inf else value for value in values]
        kept = extremes_of(values, most)
        assert len(kept) <= most or len(kept) == len(values) <= most
        assert kept == sorted(set(kept))
        finite = [value for value in values if not isnan(value)]
        if most >= 5 and finite:
            assert {max(finite), min(finite)} <= {values[i] for i in kept}

    @given(count=st.integers(0, 200), most=st.integers(0, 200), spike=st.integers(0, 199))
    def test_points_with_values_are_as_many_as_asked_for(self, count, most, spike):
        """No more, no fewer, the spike among them."""
        points: list[MetricPoint] = [
            {"step": float(i), "a": 9.0 if i == spike else 1.0, "b": None if i == 7 else 0.5}
            for i in range(count)
        ]
        left = thinned(points, most)
        assert len(left) == min(count, most)
        if spike < count and most >= 12:
            assert any(point["a"] == 9.0 for point in left)

    def test_a_shorter_range_shows_all_of_it(self, api, metrics):
        """A zoom is asked for again; by step and by time, with a neighbour on each side."""
        metrics.write_text(long_run(5000, loss={2000: 3.0}))
        for by, first, last in (("step", 1990, 2010), ("time", 1e9 + 1990, 1e9 + 2010)):
            found = curves(api, points=100, by=by, **{"from": first, "to": last})["curves"]["loss"]
            assert found["steps"] == list(range(1989, 2012)), by
            assert found["values"][11] == 3.0
            assert len(found["times"]) == (len(found["steps"]) if by == "time" else 0)


class TestReadingOn:
    """What comes after the first answer."""

    def test_only_what_is_new_comes(self, api, metrics):
        """And nothing where nothing is new; the last value and trouble are those of the whole."""
        metrics.write_text(long_run(300, loss={}))
        first = curves(api)
        assert (first["whole"], first["total"], first["timed"]) == (True, 300, True)
        with metrics.open("a") as out:
            out.write(written({"step": 300, "time": 1e9 + 300, "loss": 0.5}))
        more = curves(api, after=first["after"])
        assert (more["whole"], more["curves"]["loss"]["values"]) == (False, [0.5])
        assert more["curves"]["loss"]["best"] == 0.5
        assert curves(api, after=more["after"])["curves"]["loss"]["values"] == []

    def test_a_resumed_run_is_sent_whole_again(self, api, metrics):
        """It wrote earlier steps again: what came later counts."""
        metrics.write_text(written(*({"step": i, "loss": 2.0} for i in range(10))))
        before = curves(api)["after"]
        with metrics.open("a") as out:
            out.write(written({"step": 5, "loss": 1.0}, {"step": 6, "loss": 0.9}))
        found = curves(api, after=before)
        assert found["whole"]
        assert found["curves"]["loss"]["steps"] == [0, 1, 2, 3, 4, 5, 6]
        assert found["curves"]["loss"]["values"][-2:] == [1.0, 0.9]

    def test_another_file_in_its_place_is_another_curve(self, api, metrics):
        """Nothing of the old one is left."""
        metrics.write_text(long_run(50, old={}))
        before = curves(api)["after"]
        metrics.unlink()
        metrics.write_text(long_run(3, new={}))
        assert curves(api, after=before)["names"] == ["new"]

    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=20).filter(lambda b: b"\n" not in b and b"\r" not in b),
                st.builds(
                    lambda point: json.dumps(point).encode(),
                    st.dictionaries(
                        st.sampled_from(["step", "time", "loss", "x", "\x1b[1mred"]),
                        st.one_of(
                            st.floats(),
                            st.integers(-(10**400), 10**400),
                            st.none(),
                            st.booleans(),
                            st.sampled_from(["nan", "1.5", "text"]),
                            st.dictionaries(st.sampled_from("ab"), st.floats(), max_size=2),
                        ),
                        max_size=4,
                    ),
                ),
            ),
            max_size=30,
        )
    )
    def test_many_lines_at_once_read_as_each_by_itself(self, lines):
        """Of any lines: the quick way and the slow one agree."""
        quick, slow = Columns(), Columns()
        quick.add_lines(b"".join(line + b"\n" for line in lines))
        for line in lines:
            point = json_point(line) if line.strip() else None
            slow.add_points([] if point is None else [point])
        assert [str(x) for x in quick.steps] == [str(x) for x in slow.steps]
        assert {n: (c.rows, [str(v) for v in c.values]) for n, c in quick.columns.items()} == {
            n: (c.rows, [str(v) for v in c.values]) for n, c in slow.columns.items()
        }


class TestTrouble:
    """Losses that are no number any more, or that ran away."""

    def test_a_loss_that_is_nan_says_since_when(self, api, metrics):
        """And its last value is none; the best stays."""
        metrics.write_text(
            written(*({"step": i, "loss": 1.0 / i if i < 601 else nan} for i in range(1, 2001)))
        )
        found = curves(api, points=50)["curves"]["loss"]
        assert (found["last"], found["trouble"]) == (None, {"kind": "not_finite", "step": 601})
        assert found["best"] == pytest.approx(1 / 600)
        assert None in found["values"]

    @pytest.mark.parametrize(
        ("values", "found"),
        [
            ([2.0] * 50 + [1.0] * 200 + [9.0] * 30, ("diverged", 250)),
            ([2.0] * 50 + [1.0] * 200 + [9.0] + [1.0] * 30, None),  # one spike
            ([2.0 - i / 200 for i in range(300)], None),
            ([1.0 + i / 50 for i in range(300)], ("diverged", 65)),  # it never learned
            ([1.0, inf], ("not_finite", 1)),
            ([inf, 1.0], None),
            ([], None),
        ],
    )
    def test_what_is_trouble(self, values, found):
        """A loss that ends above twice what it began with, or is no number any more."""
        assert trouble("train/loss", values) == found

    def test_only_a_loss_diverges(self):
        """A learning rate or a speed may grow."""
        assert trouble("tokens_per_s", [2.0] * 50 + [1.0] * 200 + [9.0] * 30) is None

    def test_is_an_event_and_stands_at_the_job(self, api, desk, metrics):
        """In the list, at the job and beside the ablation; it goes when the loss is a number."""
        watch = CurveWatch()

        def look() -> None:
            on_findings(desk.server, watch.look(watch.due(desk.server)))

        metrics.write_text(written({"step": 1, "loss": 2.0}, {"step": 2, "loss": nan}))
        look()
        look()
        (job,) = api.get("/api/v1/jobs").json()["jobs"]
        assert job["trouble"]["sentence"] == "loss has been NaN or infinite since step 2."
        kinds = [event["kind"] for event in api.get("/api/v1/events").json()["events"]]
        assert kinds.count("job.diverged") == 1
        with metrics.open("a") as out:
            out.write(written({"step": 3, "loss": 1.0}))
        look()
        assert api.get("/api/v1/jobs/1").json()["trouble"] is None

    def test_of_a_run_that_has_ended_is_still_told(self, api, desk, metrics):
        """Also where it ended between two looks, and where another server looks later."""
        watch = CurveWatch()
        watch.due(desk.server)
        metrics.write_text(written({"step": 1, "loss": 2.0}, {"step": 2, "loss": nan}))
        desk.worker.ended("1.1")
        on_findings(desk.server, watch.look(watch.due(desk.server)))
        assert api.get("/api/v1/jobs/1").json()["trouble"]["step"] == 2


def test_an_ablation_marks_the_run_that_is_nan(api, metrics):
    """With last value, best value and trouble of each metric."""
    answer = api.post(
        "/api/v1/jobs",
        json={"command": "true", "workdir": "/", "gpus": 0, "labels": {"ablation": "n"}},
    )
    assert answer.status_code == 201
    table = api.get("/api/v1/ablations/n").json()
    assert (table["total"], table["runs"][0]["trouble"]) == (1, {})
