"""Answers of the server as light objects with the attributes of the wire models (`shapes`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from berth.cli.quick.shapes import SHAPES
from berth.gpunames import named
from berth.protocol import states
from berth.sdk.errors import ServerTrouble
from berth.units import format_duration, parse_duration


class Record:
    """One JSON object; attributes are converted when they are read."""

    def __init__(self, shape: str, facts: dict[str, Any]) -> None:
        self._shape = shape
        self._facts = facts

    def __getattr__(self, name: str) -> Any:
        fields = SHAPES[self._shape]
        if name not in fields:
            raise AttributeError(f"a {self._shape} has no {name!r}")
        kind, *default = fields[name]
        if name in self._facts:
            value = _converted(kind, self._facts[name])
        elif default:
            value = _converted(kind, default[0])
        else:
            raise _other(self._shape, f"{name}: it is missing")
        self.__dict__[name] = value
        return value

    def model_dump(self, **_: object) -> dict[str, Any]:
        """Return the facts as they came, as errors show them; without what is null."""
        return {name: value for name, value in self._facts.items() if value is not None}

    def __str__(self) -> str:
        return _words(self._shape, self)


class Sentence:
    """A `Message`: its parts in order."""

    def __init__(self, parts: list[Any]) -> None:
        self.root = tuple(record(_PARTS[part["kind"]], part) for part in parts)

    def __str__(self) -> str:
        return "".join(map(str, self.root))

    def __bool__(self) -> bool:
        return bool(self.root)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.root)


def record(shape: str, facts: Any) -> Record:
    """Return an answer of one shape. Raises `ServerTrouble` when it is of another kind."""
    if not isinstance(facts, dict):
        raise _other(shape, "it is no object")
    return Record(shape, facts)


def _other(shape: str, what: str) -> ServerTrouble:
    return ServerTrouble(
        f"The server's answer is not a {shape} ({what}); "
        "client and server are probably of different versions."
    )


def _converted(kind: Any, value: Any) -> Any:
    if value is None or not kind:
        return value
    if isinstance(kind, list):
        return [_converted(kind[0], one) for one in value]
    if kind == "time":
        return datetime.fromisoformat(value).astimezone(UTC)
    if kind == "duration":
        return parse_duration(value)
    if kind == "message":
        return Sentence(value)
    return getattr(states, kind)(value) if hasattr(states, kind) else record(kind, value)


_PARTS = {
    "text": "Text",
    "code": "Code",
    "time": "Time",
    "duration": "Span",
    "job": "JobRef",
    "gpu": "GpuRef",
    "user": "UserRef",
    "field": "FieldRef",
}


def _words(shape: str, part: Record) -> str:
    """Return a part of a sentence as the wire models' `str` does."""
    if shape == "Code":
        return f"`{part.text}`"
    if shape == "Time":
        return f"{part.at:%Y-%m-%d %H:%M} UTC"
    if shape == "Span":
        return format_duration(timedelta(seconds=part.seconds))
    if shape == "JobRef":
        return f"{part.text} ({part.name})" if part.name else part.text
    if shape == "GpuRef":
        return named(part.indices)
    return part.name if shape == "UserRef" else part.text
