"""
The column `jobs.spec`: a job's specification as JSON, and back.

Only what was validated at submit is ever written, so reading does not validate again: a field that
is added later has its default in older rows, and a rule that becomes stricter refuses none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, get_args, get_type_hints

from pydantic_core import from_json, to_json

from berth.protocol.specs import JobSpec, OomLadder

# A script may have a megabyte; only short texts are cached.
_CACHED = 2048
_LONGEST_CACHED = 8192


def encode(spec: JobSpec) -> str:
    """Return the spec as JSON: durations in seconds, times in ISO 8601."""
    given = {name: value for name, value in spec.__dict__.items() if value is not None}
    return to_json(given, timedelta_mode="float").decode()


def decode(text: str) -> JobSpec:
    """Return the spec that `encode` wrote; equal texts may share one object."""
    return _decode_cached(text) if len(text) <= _LONGEST_CACHED else _decode(text)


def _decode(text: str) -> JobSpec:
    values: dict[str, Any] = from_json(text)
    for name, convert in _CONVERTERS.items():
        if (value := values.get(name)) is not None:
            values[name] = convert(value)
    return _DEFAULTS.model_copy(update=values)


# A copy with changes costs less than `model_construct`.
_DEFAULTS = JobSpec.model_construct()
_decode_cached = lru_cache(maxsize=_CACHED)(_decode)


def _ladder(value: dict[str, list[Any]]) -> OomLadder:
    return OomLadder.model_construct(steps=tuple(value["steps"]))


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


_FROM_JSON: dict[type, Callable[[Any], Any]] = {
    timedelta: _seconds,
    datetime: datetime.fromisoformat,
    OomLadder: _ladder,
}
_CONVERTERS = {
    name: convert
    for name, hint in get_type_hints(JobSpec).items()
    for kind, convert in _FROM_JSON.items()
    if kind in (hint, *get_args(hint))
}
