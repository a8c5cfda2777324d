"""List of the policy settings in force, each with its origin and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any, cast

from pydantic.fields import FieldInfo

from berth.protocol.server import Setting
from berth.units import format_duration
from berth_server import policyfile
from berth_server.core.settings import PolicySettings


def show(table: Mapping[str, Any]) -> list[Setting]:
    """All knobs, as `table`, which is `[policy]` of berth.toml, and the defaults make them."""
    policy = policyfile.build(PolicySettings, table)
    described: Mapping[str, FieldInfo] = cast("Any", PolicySettings).__pydantic_fields__
    return [
        Setting(
            name=f"policy.{knob.name}",
            value=_value(getattr(policy, knob.name)),
            origin="berth.toml" if knob.name in table else "default",
            description=" ".join((described[knob.name].description or "").split()),
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
