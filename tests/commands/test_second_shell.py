"""Arguments of a launcher that hands them to a second shell."""

from __future__ import annotations

import shlex

import pytest


@pytest.mark.parametrize("argument", ["it's a test", "$HOME", "a b", "x;y", "*", ""])
def test_arguments_of_colossalai_outlive_its_second_shell(safe, argument):
    """The joined line, taken apart again, gives what was written."""
    made = safe(["colossalai", "run", "--nproc_per_node", "4", "t.py", "--name", argument])

    assert shlex.split(" ".join(made.argv[-2:])) == ["--name", argument]
