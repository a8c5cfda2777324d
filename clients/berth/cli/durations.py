"""Durations and moments as people type them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from berth.cli.failure import Failure


def seconds(word: str, *, least: float = 0.0) -> float:
    """Read `90`, `90s`, `1h30m` as seconds; less than `least` seconds is refused."""
    from berth.units import parse_duration

    try:
        found = parse_duration(word).total_seconds()
    except ValueError as error:
        raise Failure(str(error)) from error
    if found < least:
        raise Failure(f"{word} is too short; give at least {least:g}s.")
    return found


_CLOCK = re.compile(r"[0-9]+:[0-9]+")


def moment(word: str, now: datetime | None = None) -> datetime:
    """
    Read a moment: `22:00` (the first after `now`), `2026-11-24T22:00` (local time unless it names a
    zone), or a duration from `now` like `2h` or `+2h`.
    """
    local = (now or datetime.now(UTC)).astimezone()
    try:
        clock = datetime.strptime(word, "%H:%M").time()  # noqa: DTZ007 - only the clock is read
    except ValueError:
        pass
    else:
        wall = datetime.combine(local.date(), clock)
        today = _of_wall(wall)
        return today if today > local else _of_wall(wall + timedelta(days=1))
    try:
        found = datetime.fromisoformat(word)
        return found.astimezone(UTC) if found.tzinfo else _of_wall(found)
    except ValueError:
        pass
    from berth.units import parse_duration

    unknown = Failure(
        f"{word!r} is not a time; write it like 22:00, 2026-11-24T22:00, or 2h from now."
    )
    # As a duration 25:00 would be a day and an hour from now, which is never meant.
    if _CLOCK.fullmatch(word):
        raise unknown
    try:
        return (local + parse_duration(word.removeprefix("+"))).astimezone(UTC)
    except ValueError:
        raise unknown from None


def _of_wall(wall: datetime) -> datetime:
    """The moment of a local wall clock, by that day's offset; forward where the clock jumps over it."""
    found = wall.astimezone(UTC)
    if found.astimezone().replace(tzinfo=None) == wall:
        return found
    return max(found, wall.replace(fold=1).astimezone(UTC))
