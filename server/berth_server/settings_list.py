"""List of the settings in force, each with its origin and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

from pydantic.fields import FieldInfo

from berth.protocol.message import Message
from berth.protocol.server import ServerSettings, Setting
from berth.units import format_duration
from berth_server.core.settings import PolicySettings
from berth_server.settings import Settings, from_environment, read


def show(settings: Settings, home: Path) -> ServerSettings:
    """Return each setting, those of the policy as `policy.…`: value, source and meaning."""
    in_file = read(home / "berth.toml")
    listed: list[Setting] = []
    for name, field in Settings.model_fields.items():
        if name == "policy":
            continue
        origin: Literal["default", "environment", "berth.toml"] = "default"
        if from_environment(name):
            origin = "environment"
        elif name in in_file:
            origin = "berth.toml"
        listed.append(
            Setting(
                name=name,
                value=_value(getattr(settings, name)),
                origin=origin,
                description=field.description or "",
                description_parts=Message.marked(field.description or ""),
                environment=f"BERTH_{name.upper()}",
            )
        )
    described: Mapping[str, FieldInfo] = cast("Any", PolicySettings).__pydantic_fields__
    listed += [
        Setting(
            name=f"policy.{name}",
            value=_value(getattr(settings.policy, name)),
            origin="berth.toml" if name in in_file.get("policy", {}) else "default",
            description=(text := " ".join((field.description or "").split())),
            description_parts=Message.marked(text),
            environment="",
        )
        for name, field in described.items()
    ]
    return ServerSettings(home=str(home), settings=listed)


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
