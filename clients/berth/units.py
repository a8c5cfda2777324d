"""Durations and sizes as text: the one grammar that files, options and the wire share."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|d|h|m|s)", re.IGNORECASE)
_DURATION_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d)(?::([0-5]\d))?")
_LONGEST_S = 3650 * 86400.0
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_SIZE_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}
_LARGEST_BYTES = 1 << 60
_LONGEST_TEXT = 100  # these expressions take the square of a text's length


def parse_duration(value: object) -> timedelta:
    """
    Read a duration: seconds as a number, "90s", "1h30m", "2d", or Slurm's "[D-]HH:MM[:SS]".

    Raises ValueError with a sentence that shows the accepted forms.
    """
    if isinstance(value, timedelta):
        return _checked(value, value)
    if isinstance(value, bool):
        # ValueError, not TypeError: pydantic turns only the former into a field problem.
        raise ValueError(_duration_help(value))  # noqa: TRY004
    if isinstance(value, int | float):
        return _of_seconds(value, value)
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return _of_seconds(float(text), value)
        clock = _CLOCK.fullmatch(text)
        if clock:
            days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        parts = _DURATION_PART.findall(text)
        if parts and not _DURATION_PART.sub("", text).strip():
            total = sum(float(n) * _DURATION_UNIT_S[u.lower()] for n, u in parts)
            return _of_seconds(total, value)
    raise ValueError(_duration_help(value))


def shown(value: object) -> str:
    """Return a value for a sentence about it, shortened: it may be as long as a request."""
    text = repr(value[: 2 * _LONGEST_TEXT]) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _of_seconds(count: float, value: object) -> timedelta:
    # Compared before it is converted: timedelta refuses huge numbers and NaN in its own words.
    if not 0 <= count <= _LONGEST_S:
        raise ValueError(_duration_help(value))
    return timedelta(seconds=float(count))


def _checked(duration: timedelta, value: object) -> timedelta:
    if not 0 <= duration.total_seconds() <= _LONGEST_S:
        raise ValueError(_duration_help(value))
    return duration


def _duration_help(value: object) -> str:
    return f"{shown(value)} is not a duration; write seconds, or like 90s, 45m, 12h, 1h30m, 2d."


def format_duration(duration: timedelta) -> str:
    """Write a duration the way users type it, exactly to the millisecond: 45s, 1h30m, 2d3h."""
    seconds, milliseconds = divmod(round(duration.total_seconds() * 1000), 1000)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    if milliseconds:
        parts.append(f"{milliseconds}ms")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """
    Read a memory size as bytes: an integer of bytes, "20GiB", "80GB", "512M".

    One letter and the "i" forms are powers of 1024 (as nvidia-smi and Slurm count); "GB"
    and its siblings are powers of 1000. Raises ValueError with the accepted forms.
    """
    if isinstance(value, bool):
        raise ValueError(_size_help(value))  # noqa: TRY004 - see parse_duration
    if isinstance(value, int) and 0 <= value <= _LARGEST_BYTES:
        return value
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        match = _SIZE.fullmatch(value.strip())
        if match:
            number, unit = match.groups()
            factor = 1
            if unit is not None:
                decimal = len(unit) == 1 and value.strip().lower().endswith("b")
                factor = (1000 if decimal else 1024) ** _SIZE_POWER[unit[0].lower()]
            size = float(number) * factor
            if size <= _LARGEST_BYTES:
                return int(size)
    raise ValueError(_size_help(value))


def _size_help(value: object) -> str:
    return f"{shown(value)} is not a memory size; write bytes, or like 20GiB, 80GB, 512M."


def format_size(count: float) -> str:
    """Write a number of bytes for people, in powers of 1024: 512 MiB, 31.2 GiB."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    unit = units.pop(0)
    while units and value >= 1024:
        value, unit = value / 1024, units.pop(0)
    whole = unit in {"B", "KiB"} or value >= 100
    return f"{value:.0f} {unit}" if whole else f"{value:.1f} {unit}"
