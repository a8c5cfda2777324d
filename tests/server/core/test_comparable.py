"""Runs of an ablation that differ in more than the ablation."""

import json
from pathlib import Path

import pytest

from berth.protocol.message import Code
from berth_server.core.comparable import (
    Difference,
    RunFacts,
    differences,
    sentence_of,
    shortening_of,
)


def runs(*settings, **labels):
    return [
        RunFacts(
            {"input": f"p{n}", **{k: v[n] for k, v in labels.items()}},
            {("setting", name): value for name, value in one.items()},
        )
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
    assert found == [[], [Difference("setting", "data", "d (2)", "d (1)")], []]


def test_what_a_label_varies_is_the_ablations_own():
    """By number, text, or the last part of a path."""
    one, two = {"lr": "1e-05", "model": "a (7)"}, {"lr": "0.001", "model": "b (8)"}
    assert differences(runs(one, two, rate=("1e-5", "1e-3"), base=("/m/a", "/m/b"))) == [[], []]
    assert [len(found) for found in differences(runs(one, two))] == [0, 2]


def test_other_steps_are_a_difference():
    """Of runs that ended well."""
    told = [RunFacts({}, {}, 100.0), RunFacts({}, {}, 80.0), RunFacts({}, {}, 100.0), RunFacts({})]
    assert differences(told)[1] == [Difference("steps_made", "steps_made", "80", "100")]
    assert not any(differences(told)[n] for n in (0, 2, 3))


@pytest.mark.parametrize(
    ("found", "sentence", "code"),
    [
        (("setting", "training.max_length", "64", "128"),
         "`training.max_length` is `64`; most runs have `128`.",
         ["training.max_length", "64", "128"]),
        (("setting", "model.path", "", "m"), "`model.path` is empty; most runs have `m`.",
         ["model.path", "m"]),
        (("training_samples", "", "480", "500"), "It has 480 training samples; most runs have 500.", []),
        (("samples_per_step", "", "4", "8"), "A step takes 4 samples; in most runs it takes 8.", []),
        (("steps_made", "", "80", "100"), "It made 80 steps; most runs made 100.", []),
        (("changed_by_resume", "", "ablation, training.seed", ""),
         "A resume changed `ablation`, `training.seed`.", ["ablation", "training.seed"]),
        (("changed_by_resume", "", "", "ablation"),
         "It was not changed by a resume; most runs were.", []),
    ],
)  # fmt: skip
def test_each_kind_of_difference_is_a_sentence_of_typed_parts(found, sentence, code):
    """Names and values are code, so that a client shows them as typed and searches nothing."""
    message = sentence_of(Difference(*found))

    assert str(message) == sentence
    assert [part.text for part in message.root if isinstance(part, Code)] == code


def test_shortened_samples_are_told_where_they_are_most():
    """Which part lost how much."""
    lost = {"profile": 0.0, "history": 0.61}
    assert str(shortening_of(0.9, lost)) == (
        "90% of the training samples leave something out: 0% of the profile, 61% of the history, "
        "in characters of all samples."
    )
    assert shortening_of(0.5, lost) is None


def test_an_ablation_shows_what_its_runs_reported(api, desk):
    """From `comparable.json` of the run directory; nonsense in it is no error."""
    facts = [
        {"settings": {"data": "d (1)"}, "training_samples": 500, "samples_per_step": 4,
         "changed_by_resume": [], "shortened": {"samples": 0.9, "left_out": {"history": 0.6, "x": 1}}},
        {"settings": 3, "training_samples": True, "changed_by_resume": "x", "shortened": "90%"},
        {"settings": {"data": "d (1)", "x": [1]}, "training_samples": 500, "samples_per_step": None,
         "changed_by_resume": [], "shortened": {"samples": "0.9", "left_out": [1]}},
        {"settings": {"data": "d (2)"}, "training_samples": 480, "changed_by_resume": ["ablation"],
         "shortened": {"samples": 0.2, "left_out": {}}},
    ]  # fmt: skip
    said = [json.dumps(one) for one in facts]
    said[1] = said[1].replace('"90%"', "NaN")
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

    first, *others = (run["shortened"] for run in shown)
    assert (first["samples"], first["left_out"]) == (0.9, {"history": 0.6})
    assert first["sentence"].startswith("90% of the training samples")
    assert others == [None, None, None]
    assert [len(run["differences"]) for run in shown] == [0, 0, 0, 3]
    told = {one["kind"]: (one["what"], one["value"], one["usual"]) for one in shown[3]["differences"]}  # fmt: skip
    assert told["setting"] == ("data", "d (2)", "d (1)")
    assert told["training_samples"][1:] == ("480", "500")
    assert told["changed_by_resume"][1:] == ("ablation", "")
    parts = shown[3]["differences"][0]["sentence_parts"]
    assert [part["text"] for part in parts if part["kind"] == "code"] == ["data", "d (2)", "d (1)"]
