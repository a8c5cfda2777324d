"""Rules of the house that no linter holds: docstrings, import circles, folder sizes, contracts."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    name: ROOT / room / name
    for room, name in (
        ("server", "berth_server"),
        ("worker", "berth_worker"),
        ("trainer", "berth_trainer"),
        ("clients", "berth"),
    )
}
MOST_FILES = 22
"""Of one folder: about what can be taken in at a glance."""
QUESTION = re.compile(r"(What|Who|Whose|Whether|How|When|Where|Which|Why)\b")


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the four packages by its dotted name."""
    return {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): ast.parse(path.read_text())
        for folder in PACKAGES.values()
        for path in folder.rglob("*.py")
    }


def imported(tree: ast.Module) -> set[str]:
    """Modules of ours that a module imports, anywhere in it and also for its types alone."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in sources() else node.module for name in inner}
    return names & sources().keys()


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle, the first one again at the end."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def docstrings(tree: ast.Module) -> list[str]:
    """Docstrings of a module, of its classes and functions, and of the fields of classes."""
    return [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_docstring_names_the_thing(package):
    """By its standard term, not in an indirect question."""
    found = {
        name: docstrings(tree)
        for name, tree in sources().items()
        if name.partition(".")[0] == package
    }
    assert sum(map(len, found.values())) > len(found)
    asking = [
        (name, text)
        for name, texts in found.items()
        for text in texts
        if QUESTION.match(text.strip())
    ]
    assert asking == []


def test_no_modules_import_each_other_in_a_circle():
    """Imports under TYPE_CHECKING and inside functions count."""
    graph = {name: imported(tree) - {name} for name, tree in sources().items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert circle(graph) == []


def test_a_circle_is_found():
    """The test above would see one."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_no_folder_holds_too_many_files():
    """Of Python, TypeScript or style sheets; at one level."""
    roots = (*PACKAGES.values(), ROOT / "clients" / "web" / "src")
    files = Counter(
        path.parent.relative_to(ROOT)
        for root in roots
        for path in root.rglob("*")
        if path.suffix in {".py", ".ts", ".tsx", ".css"} and path.name != "schema.d.ts"
    )
    assert len(files) > 50
    assert {folder: n for folder, n in files.items() if n > MOST_FILES} == {}


def test_every_import_contract_speaks_of_modules_that_exist():
    """A contract about a module that was renamed would hold nothing any more."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    named: set[str] = set()
    for contract in settings["contracts"]:
        prefixes = [f"{container}." for container in contract.get("containers", [])] or [""]
        listed = [
            *contract.get("source_modules", []),
            *contract.get("forbidden_modules", []),
            *contract.get("modules", []),
            *(one for layer in contract.get("layers", []) for one in re.split(r"[:|]", layer)),
        ]
        named |= {prefix + module.strip(" ()") for prefix in prefixes for module in listed}
    ours = {name for name in named if name.partition(".")[0] in PACKAGES}
    assert len(ours) > 20
    assert ours - sources().keys() == set()


def test_new_modules_of_the_core_come_under_its_contract():
    """The deciding modules are listed, so the list has to be whole."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in settings["contracts"] if c.get("containers") == ["berth_server.core"])
    assert contract["exhaustive"]
