"""Base of the wire models, and their time, duration and size types."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from berth.units import format_duration, parse_duration, parse_size, shown


class Wire(BaseModel):
    """Base of every wire model: strict types, unknown fields refused, immutable."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        ser_json_timedelta="float",
    )


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("A time needs its zone; write it like 2026-11-23T14:00:00Z.")
    return value.astimezone(UTC)


def _parse_time(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"{shown(value)} is not a time; write it like 2026-11-23T14:00:00Z."
            ) from None
    return value


def _write_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


UtcTime = Annotated[
    datetime,
    BeforeValidator(_parse_time, json_schema_input_type=str),
    AfterValidator(_to_utc),
    PlainSerializer(_write_time, return_type=str, when_used="json"),
]
"""An aware UTC time; on the wire ISO 8601 with milliseconds and Z."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=str | float),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
]
"""A duration; on the wire as users write it, "12h"."""


def _some_time(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("A time limit is longer than 0; leave it out for none.")
    return value


TimeLimit = Annotated[Duration, AfterValidator(_some_time)]
"""Limit of time: a duration of more than nothing."""

Bytes = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=str | int)]
"""A size in bytes; accepts "20GiB" on the way in, always an integer on the way out."""


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)
