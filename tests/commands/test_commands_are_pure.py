"""berth.commands decides only: it touches nothing outside itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import berth.commands

FILES = sorted(Path(berth.commands.__file__).parent.rglob("*.py"))
EFFECTS = {"subprocess", "socket", "shutil", "tempfile", "pathlib", "io", "time", "random"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_imports_what_decides_and_nothing_that_acts(path):
    """Standard library without effects, the words of the wire, its own siblings; no os.environ."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Attribute):
            assert node.attr != "environ"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "eval", "exec"}
    ours = {name for name in names if name.split(".")[0] == "berth"}
    assert all(
        name.startswith(("berth.commands", "berth.protocol", "berth.gpunames", "berth.masking"))
        for name in ours
    )
    others = {name.split(".")[0] for name in names - ours}
    assert others <= sys.stdlib_module_names - EFFECTS
    assert "os" not in names
