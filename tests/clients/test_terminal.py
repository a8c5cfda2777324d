"""The one cleaner of terminal output: what it removes, what it shows, and what stays."""

from __future__ import annotations

import pytest

from berth.terminal import shown, shown_bytes, strip, strip_bytes


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\x1b[31mloss\x1b[0m 0.5", "loss 0.5"),
        ("\x1b[38:2::255:0:0mred\x1b[m", "red"),
        ("\x1b[?25l\x1b[2Khidden cursor", "hidden cursor"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://h\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;no end\nnext", "\nnext"),
        ("\x1b(Bascii\x1b7", "ascii"),
        ("bell\x07 null\x00 del\x7f", "bell null del"),
        ("tab\tand\r\nends stay — é", "tab\tand\r\nends stay — é"),
    ],
)
def test_strip_removes_controls_only(raw: str, clean: str) -> None:
    """Text and bytes are cleaned alike; tabs, carriage returns and line ends stay."""
    assert strip(raw) == clean
    assert strip_bytes(raw.encode()) == clean.encode()


@pytest.mark.parametrize(
    ("raw", "visible"),
    [("plain", "plain"), ("10%\r20%\r30%", "30%"), ("30%\r", "30%"), ("\r\r", ""), ("", "")],
)
def test_shown_is_what_follows_the_last_carriage_return(raw: str, visible: str) -> None:
    """A carriage return at the end has overwritten nothing yet."""
    assert shown(raw) == visible
    assert shown_bytes(raw.encode()) == visible.encode()
