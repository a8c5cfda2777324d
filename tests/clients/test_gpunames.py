"""Names of GPUs in sentences."""

from __future__ import annotations

import pytest

from berth.cli.gpu_list import gpu_names
from berth.gpunames import named, ranges


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([], "no GPU"),
        ([3], "GPU 3"),
        ([0, 1], "GPUs 0-1"),
        ([3, 2, 1, 0], "GPUs 0-3"),
        ([0, 1, 4], "GPUs 0-1, 4"),
        ([0, 2, 4], "GPUs 0, 2, 4"),
        ([6, 0, 1, 2, 3, 7], "GPUs 0-3, 6-7"),
    ],
)
def test_neighbours_are_reported_as_one_run(indices, words):
    """The dash of a range is the long one, so that it is not read as a minus."""
    assert named(indices) == words.replace("-", "\N{EN DASH}")


def test_what_a_verb_prints_can_be_typed_again():
    """A range copied from a sentence names the same GPUs on the command line."""
    assert gpu_names([ranges([0, 1, 2, 5])]) == gpu_names(["0", "1,2", "5"])
    assert gpu_names(["0-2", ",", "5"]) == ["0", "1", "2", "5"]
