"""From an ablation's file to its cells."""

from __future__ import annotations

import pytest

from berth.sdk.matrix import MatrixError, expand

BASE = {
    "command": "python t.py --seed {seed} --x ${seed} {parts} {other}",
    "gpus": 1,
    "env": {"P": "{parts}"},
}
MATRIX = {"parts": ["a", "b"], "seed": ["1", "2"]}


def cells(**plan):
    return expand({"base": BASE, "matrix": MATRIX, "name": "study", **plan}, where="x.yaml")[
        "cells"
    ]


def values(**plan):
    return [(cell["values"]["parts"], cell["values"]["seed"]) for cell in cells(**plan)]


def test_every_combination_in_order():
    """Values are filled in, the shell's own braces and unknown ones stay."""
    made = cells()

    assert values() == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    assert made[2]["job"]["command"] == "python t.py --seed 1 --x ${seed} b {other}"
    assert made[2]["job"]["env"] == {"P": "b"}
    assert made[2]["job"]["name"] == "study-b-1"


def test_exclude_takes_out_what_fits():
    """A combination that holds all of an entry is left out."""
    assert values(exclude=[{"parts": "a", "seed": "2"}, {"parts": "b"}]) == [("a", "1")]


def test_seeds_are_a_list_or_a_number():
    """`seeds: 2` is 0 and 1; numbers of Python count as their text."""
    parts = {"parts": ["a"]}
    assert values(matrix=parts, seeds=[7, 9]) == [("a", "7"), ("a", "9")]
    assert values(matrix=parts, seeds="2") == [("a", "0"), ("a", "1")]
    assert values(matrix=parts, seeds=2) == [("a", "0"), ("a", "1")]


def test_include_adds_whole_cells():
    """Also with values that the matrix has not; one without a seed is run with each."""
    assert values(include=[{"parts": "c", "seed": "9"}])[-1] == ("c", "9")
    made = values(matrix={"parts": ["a"]}, seeds=2, include=[{"parts": "c"}])
    assert made[-2:] == [("c", "0"), ("c", "1")]


def test_a_list_of_cells_needs_no_matrix():
    """`include` alone is a list of runs."""
    assert values(matrix=None, include=[{"parts": "a", "seed": "3"}]) == [("a", "3")]


def test_caps_go_along():
    """As they stand: the server reads them."""
    rule = {"rule": "target", "metric": "loss", "target": 1.5}
    plan = {"name": "s", "base": BASE, "matrix": MATRIX, "max_running": 2, "early_stop": rule}
    made = expand(plan, name="other")
    assert (made["name"], made["max_running"], made["early_stop"]) == ("other", 2, rule)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"base": None}, "`base` is missing"),
        ({"name": None}, "`name` is missing"),
        ({"matrix": None}, "`matrix` is missing"),
        ({"matrix": {}}, "`matrix` is missing"),
        ({"matrix": {"seed": "1"}}, "`matrix.seed` is not a list"),
        ({"matrix": {"seed": ["1", "1"], "parts": ["a"]}}, "twice"),
        ({"matrix": {"seed": [["1"]], "parts": ["a"]}}, "words and numbers"),
        ({"matrix": {"nowhere": ["1"]}}, "{nowhere} appears nowhere"),
        ({"matrix": {"seed": list(range(200)), "parts": list(range(200))}}, "too many"),
        ({"seeds": 3}, "both `seeds` and `matrix.seed`"),
        ({"matrix": {"parts": ["a"]}, "seeds": "many"}, "`seeds` must be a number"),
        ({"matrix": {"parts": ["a"]}, "seeds": 0}, "`seeds` must be a number"),
        ({"exclude": [{"parts": "c"}]}, "parts: c"),
        ({"exclude": [{"part": "a"}]}, "did you mean 'parts'?"),
        ({"exclude": "a"}, "list of combinations"),
        ({"exclude": [{}]}, "leaves no run"),
        ({"include": [{"parts": "a"}]}, "lacks seed"),
        ({"include": [{"prats": "a", "seed": 1}]}, "did you mean 'parts'?"),
        ({"include": [{"parts": "a", "seed": 1}]}, "repeats"),
        ({"bsae": 1}, "'bsae' is unknown; did you mean 'base'?"),
        ({"max_gpuhours": 1}, "did you mean 'max_gpu_hours'?"),
        ({"zzz": 1}, "'zzz' is unknown; write name, base"),
    ],
)
def test_mistakes_are_one_sentence(plan, sentence):
    """Missing and invalid keys are named, with the nearest known key for a typo."""
    with pytest.raises(MatrixError) as caught:
        cells(**plan)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")
