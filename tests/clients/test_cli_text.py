"""Small parts of the command line: texts, tables, terminals, times, ids, matrices."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.cli import durations, ids, text
from berth.cli.failure import Failure
from berth.cli.table import Column, render
from berth.protocol.message import Message, Time
from berth.terminal import OutputFilter


class TestText:
    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [(0, "0.0s"), (0.3, "0.3s"), (45, "45s"), (61, "1m01s"), (720, "12m"), (3600, "1h"), (3900, "1h05m"), (90_000, "1d1h"), (86_400 * 40, "40d"), (-5, "0.0s")],
    )  # fmt: skip
    def test_durations_have_two_units(self, seconds, shown):
        """Enough to plan with, short enough for a column."""
        assert text.span(timedelta(seconds=seconds)) == shown

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [(0, "1s"), (40, "40s"), (59.9, "1m"), (725, "12m"), (3590, "1h"), (7300, "2h"), (43_000, "12h"), (86_390, "1d"), (300_000, "3d")],
    )  # fmt: skip
    def test_estimates_are_no_finer_than_they_are(self, seconds, shown):
        """An estimate of a day does not name minutes."""
        assert text.about(timedelta(seconds=seconds)) == shown

    def test_moments_are_seen_from_now(self):
        """Past and future are distinguished."""
        now = datetime.now(UTC)
        assert text.ago(now, now) == "now"
        assert text.ago(now - timedelta(minutes=12), now) == "12m ago"
        assert text.ago(now + timedelta(hours=2), now) == "in 2h"

    @pytest.mark.parametrize(
        ("count", "shown"),
        [(None, "-"), (0, "0 B"), (2048, "2 KiB"), (5 << 20, "5.0 MiB"), (80 << 30, "80.0 GiB"), (1500 << 30, "1500 GiB")],
    )  # fmt: skip
    def test_sizes(self, count, shown):
        """Binary units, as nvidia-smi counts."""
        assert text.size(count) == shown

    @pytest.mark.parametrize(
        ("numbers", "shown"),
        [([], ""), ([3], "3"), ([0, 1], "0,1"), ([3, 2, 1, 0, 6], "0-3,6"), ([0, 2, 4], "0,2,4")],
    )
    def test_indices_are_short_and_plain(self, numbers, shown):
        """Runs of three and more are ranges."""
        assert text.indices(numbers) == shown

    @given(st.text(), st.integers(1, 40))
    def test_a_cut_text_fits(self, words, columns):
        """Whatever the letters, wide ones included, it takes no more columns than it may."""
        assert text.width(text.cut(text.clean(words), columns)) <= columns

    @given(st.text())
    def test_a_clean_text_is_one_line_without_control(self, words):
        """Nothing of it steers a terminal."""
        cleaned = text.clean(words)
        assert len(cleaned.splitlines()) <= 1
        assert "\x1b" not in cleaned

    def test_sentences_tell_times_on_the_local_clock(self, monkeypatch):
        """The other times are local, and two zones on one screen mislead."""
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        try:
            at = datetime(2026, 11, 26, 20, 52, tzinfo=UTC)
            parts = Message.of("held until ", Time(at=at), " at the latest")
            answer = text.message(parts, str(parts))
        finally:
            monkeypatch.undo()
            time.tzset()

        assert answer == "held until 2026-11-27 05:52 at the latest"


class TestTable:
    def test_wide_letters_keep_columns_straight(self):
        """A name in Japanese takes two columns a letter."""
        lines = render(
            (Column("NAME"), Column("N", right=True)), [["人格", "1"], ["ab", "20"]]
        ).splitlines()

        assert lines == ["NAME   N", "人格   1", "ab    20"]

    @given(st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=5))
    def test_it_fits_the_terminal_as_far_as_columns_give_way(self, rows):
        """Each line is at most as wide as the terminal."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "terminal_width", lambda: 40)
            table = render([Column("A", least=2), Column("B", least=2), Column("C", least=0)], rows)
        assert all(text.width(line) <= 40 for line in table.splitlines())


class TestOutputFilter:
    HOSTILE = b"a\x1b[31mred\x1b[0m\r50%\x1b[A\x1b[K\x1b]0;title\x07b\x1b]52;c;eA==\x1b\\c\x1b[6nd\x1b[?1049he\x1bcf\x00g\n"
    CALM = b"a\x1b[31mred\x1b[0m\r50%\x1b[A\x1b[Kbcdefg\n"

    def test_only_colour_and_cursor_moves_stay(self):
        """Titles, clipboard, queries and other screens are left out."""
        assert OutputFilter().filter(self.HOSTILE) == self.CALM

    @given(st.lists(st.integers(0, len(HOSTILE)), max_size=8))
    def test_it_does_not_matter_where_pieces_are_cut(self, cuts):
        """A sequence that arrives in two pieces is the same sequence."""
        edges = [0, *sorted(cuts), len(self.HOSTILE)]
        filtered = OutputFilter()
        pieces = [filtered.filter(self.HOSTILE[a:b]) for a, b in itertools.pairwise(edges)]
        assert b"".join(pieces) == self.CALM

    @given(st.binary())
    def test_text_without_escapes_is_untouched(self, data):
        """Letters of any encoding pass."""
        plain = bytes(byte for byte in data if byte >= 0x20 and byte != 0x7F)
        assert OutputFilter().filter(plain) == plain


class TestMoments:
    NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("2h", datetime(2026, 11, 24, 14, tzinfo=UTC)),
            ("+90s", datetime(2026, 11, 24, 12, 1, 30, tzinfo=UTC)),
            ("2026-12-01T08:00+09:00", datetime(2026, 11, 30, 23, tzinfo=UTC)),
        ],
    )
    def test_what_people_write(self, word, expected):
        """Durations from now, and moments with a zone."""
        assert durations.moment(word, self.NOW) == expected

    def test_no_such_clock_time_is_refused(self):
        """25:00 is no length of a day and an hour."""
        with pytest.raises(Failure, match="'25:00' is not a time"):
            durations.moment("25:00")

    def test_a_clock_is_the_next_such_time(self):
        """22:00 is tonight, or tomorrow when it is past."""
        for word in ("00:00", "12:00", "23:59"):
            found = durations.moment(word, self.NOW)
            assert timedelta(0) < found - self.NOW <= timedelta(days=1)
            assert found.astimezone().strftime("%H:%M") == word


@pytest.mark.parametrize(("word", "expected"), [("90", 90), ("30s", 30), ("1h30m", 5400)])
def test_a_length_of_time_may_be_bare_seconds(word, expected):
    """Notations that every duration flag takes."""
    assert durations.seconds(word, least=1) == expected


def test_a_wait_that_is_too_short_is_refused(berth):
    """Before anything is started, in a sentence that names the least."""
    for verb, word, sentence in (
        (("up", "--timeout"), "0.5s", "0.5s is too short; give at least 1s."),
        (("up", "--timeout"), "soon", "'soon'"),
    ):
        result = berth(*verb, word)
        assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["42"], [42]), (["#42", "40-42"], [42, 40, 41]), (["1..3", "2"], [1, 2, 3])],
)
def test_ids(words, expected):
    """Single ids and ranges, each once, in the order given."""
    assert ids.several(words) == expected


def test_one_id_may_name_an_attempt():
    """42.1 is the first attempt of job 42."""
    assert ids.one("42.1") == (42, 1)
    assert ids.one("#42") == (42, None)
