"""Rules that hold at some times of the week: nights, weekends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo

from berth_server.core.settings import CalendarRule


def in_force(rules: Iterable[CalendarRule], now: datetime, zone: tzinfo) -> list[CalendarRule]:
    """The rules whose window contains `now`, in their order; an end is no longer inside."""
    today = now.astimezone(zone).date()
    return [
        rule
        for rule in rules
        if any(
            start <= now < end
            for day in (today - timedelta(days=1), today)
            for start, end in _window(rule, day, zone)
        )
    ]


def next_change(rules: Iterable[CalendarRule], now: datetime, zone: tzinfo) -> datetime | None:
    """Time at which the next window starts or ends; None without rules."""
    today = now.astimezone(zone).date()
    return min(
        (
            at
            for rule in rules
            for days in range(-1, 9)
            for window in _window(rule, today + timedelta(days=days), zone)
            for at in window
            if at > now
        ),
        default=None,
    )


def _window(rule: CalendarRule, day: date, zone: tzinfo) -> list[tuple[datetime, datetime]]:
    """The window that starts on a day, if one does, in UTC."""
    if day.weekday() not in rule.weekdays:
        return []
    end_day = day if rule.ends > rule.starts else day + timedelta(days=1)
    start = datetime.combine(day, rule.starts, tzinfo=zone).astimezone(UTC)
    return [(start, datetime.combine(end_day, rule.ends, tzinfo=zone).astimezone(UTC))]
