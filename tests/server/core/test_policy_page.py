"""The page about scheduling keeps up with the policy's knobs."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from berth.units import parse_duration
from berth_server.core.settings import PolicySettings

PAGE = (Path(__file__).parents[3] / "docs" / "scheduling.md").read_text()
ROWS = [
    (re.findall(r"`(\w+)`", row[0]), [value.strip().strip("`") for value in row[1].split(",")])
    for row in re.findall(r"^\| (`[^|]+) \| ([^|]+) \| [^|]+ \| [^|]+\|$", PAGE, re.MULTILINE)
]
DOCUMENTED = {
    name: values for names, values in ROWS for name in names if len(names) != len(values)
} | {
    name: [value]
    for names, values in ROWS
    if len(names) == len(values)
    for name, value in zip(names, values, strict=True)
}


def test_there_are_few_knobs():
    """Twelve at most, each with the reason for its value in the table's last column."""
    assert len(fields(PolicySettings)) <= 12


@pytest.mark.parametrize("name", [field.name for field in fields(PolicySettings)])
def test_every_knob_is_explained(name):
    """In the table or in a sentence, by its name."""
    assert f"`{name}`" in PAGE or f"`policy.{name}`" in PAGE


@pytest.mark.parametrize(
    "name",
    [f.name for f in fields(PolicySettings) if isinstance(f.default, float | int | timedelta)],
)
def test_the_documented_defaults_are_the_defaults(name):
    """The table's second column is what the code has."""
    default = getattr(PolicySettings(), name)
    (shown,) = DOCUMENTED[name]
    assert (parse_duration(shown) if isinstance(default, timedelta) else float(shown)) == default
