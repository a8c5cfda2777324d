"""Runs of an ablation that differ in more than the ablation."""

from pathlib import Path

from berth_server.core.comparable import Difference, RunFacts, differences


def runs(*settings, **labels):
    return [
        RunFacts({"input": f"p{n}", **{k: v[n] for k, v in labels.items()}}, one)
        for n, one in enumerate(settings)
    ]


def test_equal_runs_have_no_difference():
    """The ablation itself is none, nor is a run that reported nothing."""
    assert (
        differences(runs({"ablation": "a", "x": "1"}, {"ablation": "b", "x": "1"}, {})) == [[]] * 3
    )


def test_the_odd_run_is_named_with_both_values():
    """Against what most runs have."""
    found = differences(runs({"data": "d (1)"}, {"data": "d (2)"}, {"data": "d (1)"}))
    assert found == [[], [Difference("data", "d (2)", "d (1)")], []]


def test_what_a_label_varies_is_the_ablations_own():
    """By number, text, or the last part of a path."""
    one, two = {"lr": "1e-05", "model": "a (7)"}, {"lr": "0.001", "model": "b (8)"}
    assert differences(runs(one, two, rate=("1e-5", "1e-3"), base=("/m/a", "/m/b"))) == [[], []]
    assert [len(found) for found in differences(runs(one, two))] == [0, 2]


def test_other_steps_are_a_difference():
    """Of runs that ended well."""
    told = [RunFacts({}, {}, 100.0), RunFacts({}, {}, 80.0), RunFacts({}, {}, 100.0), RunFacts({})]
    assert differences(told)[1] == [Difference("steps made", "80", "100")]
    assert not any(differences(told)[n] for n in (0, 2, 3))


def test_an_ablation_shows_what_its_runs_reported(api, desk):
    """From `comparable.json` of the run directory; nonsense in it is no error."""
    said = ('{"settings": {"data": "d (1)"}, "shortened": "90% of the samples"}', '{"settings": 3}',
            '{"settings": {"data": "d (1)", "x": [1]}}', '{"settings": {"data": "d (2)"}}')  # fmt: skip
    for n in range(len(said)):
        labels = {"ablation": "night", "input": str(n)}
        api.post(
            "/api/v1/jobs", json={"command": "true", "workdir": "/", "gpus": 1, "labels": labels}
        )
    for wanted, text in zip(desk.server.cache.desired_state().attempts, said, strict=True):
        Path(wanted.run_dir).mkdir(parents=True)
        (Path(wanted.run_dir) / "comparable.json").write_text(text)

    answer = api.get("/api/v1/ablations/night").json()
    assert "runs" in answer, answer
    shown = answer["runs"]

    assert [run["shortened"] for run in shown] == ["90% of the samples", None, None, None]
    assert [run["differences"] for run in shown] == [
        [], [], [], [{"what": "data", "value": "d (2)", "usual": "d (1)"}],
    ]  # fmt: skip
