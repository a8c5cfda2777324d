"""The recipes of docs/integrations.md, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
RECIPES = dict(re.findall(r"```python\n# recipe: (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("submitit", "[4, 9, 16]"), ("futures", "1024"), ("optuna", "'lr'")],
)
def test_a_recipe_runs(queue, tmp_path, name, expected):
    """As its own program, in a folder of its own."""
    script = tmp_path / "recipe.py"
    script.write_text(RECIPES[name])
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_every_recipe_is_run():
    """A new one on the page has its line above."""
    assert set(RECIPES) == {"submitit", "futures", "optuna"}
