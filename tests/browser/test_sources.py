"""The dashboard's sources: their own unit tests, and types that are those of the server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

WEB = Path(__file__).resolve().parents[2] / "clients" / "web"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """clients/web/build.py as a module."""
    spec = importlib.util.spec_from_file_location("web_build", WEB / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_unit_tests_of_the_pure_parts_pass(build: ModuleType) -> None:
    """Formatting and types too."""
    build.test()


def test_types_are_those_of_the_server(build: ModuleType) -> None:
    """What the page takes for granted is what the REST interface says."""
    before = build.TYPES.read_text()
    try:
        assert not build.generate_types(), "run `python clients/web/build.py --types`"
    finally:
        build.TYPES.write_text(before)


def test_the_lock_file_names_no_address() -> None:
    """Packages come from wherever the machine's npm is told to look."""
    assert '"resolved"' not in (WEB / "package-lock.json").read_text()


def test_a_second_build_does_nothing(build: ModuleType, dashboard: None) -> None:
    """Nothing changed, nothing is done."""
    assert build.is_current()
    assert build.build() is False
