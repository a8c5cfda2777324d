"""Everything is documented: verbs, options, client methods, exit codes."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from typer.main import get_command

import berth
from berth.cli import failure
from berth.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
CLI = (DOCS / "cli.md").read_text(encoding="utf-8")
SDK = (DOCS / "sdk.md").read_text(encoding="utf-8")
ROOT = get_command(app)


def verbs():
    """Every verb with the words that name it."""
    for name, command in ROOT.commands.items():
        yield name, command
        for inner, below in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", below


@pytest.mark.parametrize(("words", "command"), list(verbs()), ids=[words for words, _ in verbs()])
def test_every_verb_and_option_is_described(words, command):
    """Each stands in docs/cli.md, and each option has a help text."""
    assert f"berth {words}" in CLI or f"`berth {words}`" in CLI
    for parameter in command.params:
        if parameter.name in {"help", "as_json"}:
            continue
        assert parameter.help, parameter.name
        if parameter.opts[0].startswith("-"):
            assert any(option in CLI for option in parameter.opts), parameter.opts


def test_every_verb_takes_json():
    """All but `top`, `shell`, `attach`, `exec` and `jupyter`, which are for a person, `mcp`, which speaks to a program, the groups' own, and `plan`, whose options are the trainer's."""
    without = {
        words
        for words, command in verbs()
        if not any("--json" in parameter.opts for parameter in command.params)
    }

    assert without == {
        "top",
        "token",
        "ablate",
        "plan",
        "mcp",
        "shell",
        "attach",
        "exec",
        "jupyter",
    }


def test_every_exit_code_is_described():
    """The table of docs/cli.md names them all."""
    codes = {value for name, value in vars(failure).items() if name.isupper()}

    assert all(f"| {code} |" in CLI for code in codes | {0})


@pytest.mark.parametrize(
    "name", [name for name in dir(berth.Client) if not name.startswith("_") and name != "close"]
)
def test_every_method_is_described(name):
    """Each stands in docs/sdk.md and has a docstring."""
    assert f"`{name}" in SDK or f"{name}(" in SDK or name == "address"
    assert inspect.getdoc(getattr(berth.Client, name))


@pytest.mark.parametrize(
    "error",
    [
        name
        for name in berth.__all__
        if inspect.isclass(getattr(berth, name)) and issubclass(getattr(berth, name), Exception)
    ],
)
def test_every_error_is_described(error):
    """Each class stands in docs/sdk.md."""
    assert error in SDK
