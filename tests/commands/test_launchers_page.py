"""docs/launchers.md is the table that the code holds."""

from __future__ import annotations

from pathlib import Path

from berth.commands.launchers import registry

PAGE = Path(__file__).parents[2] / "docs" / "launchers.md"


def test_the_page_holds_every_row():
    """A launcher that is added, or a fact that changes, is on the page."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]

    assert rows == [f"| `{k.name}` | {k.count} | {k.port} | {k.ends} |" for k in registry.ALL]
