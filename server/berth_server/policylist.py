"""The policy's knobs as they are in force, each with who set it and what it means."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any, cast

from berth.protocol.server import Setting
from berth.units import format_duration
from berth_server import policyfile
from berth_server.core.settings import PolicySettings


def show(table: Mapping[str, Any]) -> list[Setting]:
    """All knobs, as `table`, which is `[policy]` of berth.toml, and the defaults make them."""
    policy = policyfile.build(PolicySettings, table)
    return [
        Setting(
            name=f"policy.{knob.name}",
            value=_value(getattr(policy, knob.name)),
            origin="berth.toml" if knob.name in table else "default",
            description=_meanings().get(knob.name, ""),
            environment="",
        )
        for knob in fields(PolicySettings)
    ]


def _value(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, timedelta):
        return format_duration(value)
    return _text(value) or None


def _text(value: Any) -> str:
    """As short as it can be said; nothing for what sets nothing."""
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        return "; ".join(f"{name}: {_text(part)}" for name, part in named.items())
    if isinstance(value, tuple | frozenset):
        return "; ".join(_text(part) for part in cast("tuple[Any, ...]", value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = [(knob.name, _text(getattr(value, knob.name))) for knob in fields(value)]
        return ", ".join(f"{name}={part}" for name, part in parts if part)
    return "" if value is None else str(value)


@cache
def _meanings() -> dict[str, str]:
    """What stands beneath each knob in the source, as one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(PolicySettings))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for knob, told in pairwise(tree.body):
        if not (isinstance(knob, ast.AnnAssign) and isinstance(knob.target, ast.Name)):
            continue
        if isinstance(told, ast.Expr) and isinstance(told.value, ast.Constant):
            found[knob.target.id] = " ".join(str(told.value.value).split())
    return found
