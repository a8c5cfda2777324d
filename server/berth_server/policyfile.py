"""Reader of `[policy]` in berth.toml, for whatever settings the scheduler has."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import time, timedelta, tzinfo
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import structlog
from pydantic import ValidationError

from berth.units import parse_duration
from berth_server.settings import SettingsError

log = structlog.get_logger()
T = TypeVar("T")
_FORMER = frozenset({"forecast_depth"})
"""Settings of earlier versions, which files may still have: read, named in the log, ignored."""
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def build(kind: type[T], table: Mapping[str, Any], where: str = "[policy]") -> T:
    """
    Make a dataclass of a TOML table, nested ones included.

    Lengths of time are written as elsewhere ("12h"), times of day "22:00", zones by name,
    weekdays as numbers from 0 (Monday) or by name. Raises SettingsError with the place and the
    nearest name or what is expected there.
    """
    hints = get_type_hints(kind)
    known = [field.name for field in fields(cast("Any", kind))]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in _FORMER and where == "[policy]":
            log.warning("settings.ignored", setting=f"policy.{name}")
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(known)}."
            raise SettingsError(f"berth.toml: {where} knows no {name!r}; {mend}")
        values[name] = _convert(hints[name], value, f"{where} {name}")
    for field in fields(cast("Any", kind)):
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in values:
            raise SettingsError(f"berth.toml: {where} needs {field.name!r}; add it.")
    try:
        return kind(**values)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"berth.toml: {where}: {problem}") from None


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        inner = next(one for one in arguments if one is not type(None))
        # TOML has no null: this is how "none" is said.
        return None if value == "none" else _convert(inner, value, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return build(kind, _expect(value, dict, where, "a table"), where)
    if origin is not None and issubclass(origin, Mapping):
        table = _expect(value, dict, where, "a table")
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in table.items()}
    if origin in {tuple, frozenset, list}:
        listed = _expect(value, list, where, "a list")
        return origin([_convert(arguments[0], one, where) for one in listed])
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    readers: dict[Any, tuple[Callable[[Any], Any], str]] = {
        timedelta: (parse_duration, "a length of time like 12h"),
        time: (_time_of_day, "a time of day like 22:00"),
        tzinfo: (lambda v: ZoneInfo(str(v)), "a time zone like Europe/Berlin"),
        float: (_number, "a number"),
        int: (_whole_number, "a whole number"),
        bool: (_truth, "true or false"),
        str: (_text, "text"),
    }
    if kind not in readers:
        raise SettingsError(f"berth.toml: {where} cannot be set in a file.")
    read, expected = readers[kind]
    try:
        return read(value)
    except (ValueError, TypeError, OSError, LookupError):
        raise SettingsError(f"berth.toml: {where} is {value!r}; write {expected}.") from None


def _expect(value: Any, kind: type, where: str, expected: str) -> Any:
    if not isinstance(value, kind):
        raise SettingsError(f"berth.toml: {where} is {value!r}; write {expected}.")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _whole_number(value: Any) -> int:
    if isinstance(value, str) and value[:3].lower() in _WEEKDAYS:
        return _WEEKDAYS.index(value[:3].lower())
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _time_of_day(value: Any) -> time:
    return value if isinstance(value, time) else time.fromisoformat(value)
