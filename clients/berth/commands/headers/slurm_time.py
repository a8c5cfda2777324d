"""Slurm's time formats: `90`, `90:30`, `2:00:00`, `1-12`, `1-12:30`, `1-12:30:00`."""

from __future__ import annotations

import re

from berth.commands.errors import CommandError

_TIME = re.compile(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?")


def seconds(text: str, said: str) -> int | None:
    """The time in seconds; None for no limit. Raises CommandError."""
    if text.upper() in {"UNLIMITED", "INFINITE", "-1"}:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise CommandError(
            f"`{said}` is no time; write it like 90 (minutes), 2:00:00 or 1-12:00:00."
        )
    days, first, second, third = (None if each is None else int(each) for each in match.groups())
    assert first is not None
    if days is not None:
        total = days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        total = first * 3600 + (second or 0) * 60 + third
    else:
        total = first * 60 + (second or 0)
    return total or None
