"""Times of day across a change of the clocks."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from berth.cli.durations import moment


@pytest.mark.parametrize(
    ("zone", "word", "now", "expected"),
    [
        ("America/New_York", "08:00", "2027-03-14T01:00Z", "2027-03-14T12:00Z"),
        ("America/New_York", "08:00", "2026-11-01T01:00Z", "2026-11-01T13:00Z"),
        ("Europe/Berlin", "07:00", "2027-03-27T20:00Z", "2027-03-28T05:00Z"),
        ("America/New_York", "2027-03-14T02:30", "2027-03-01T00:00Z", "2027-03-14T07:30Z"),
        ("America/New_York", "2027-07-01T08:00", "2027-03-01T00:00Z", "2027-07-01T12:00Z"),
    ],
)
def test_wall_clock_is_read_by_that_days_offset(monkeypatch, zone, word, now, expected):
    """08:00 is 08:00 on the night of a change; a time that is jumped over goes forward."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert moment(word, datetime.fromisoformat(now)) == datetime.fromisoformat(expected)
    finally:
        monkeypatch.undo()
        time.tzset()
