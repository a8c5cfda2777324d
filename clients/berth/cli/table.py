"""Table layout: fits the terminal, plain in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from berth.cli import text


class Column(NamedTuple):
    """One column. `least` is how far it may be cut when the terminal is narrow; None: never."""

    title: str
    right: bool = False
    least: int | None = None


Cell = str | tuple[str, str]
"""Text, or text and the name of its style."""


def render(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    """The table as lines without trailing blanks. Cells are cleaned of control characters."""
    plain = [[text.clean(_text(cell)) for cell in row] for row in rows]
    widths = [
        max([text.width(column.title), *(text.width(row[i]) for row in plain)])
        for i, column in enumerate(columns)
    ]
    _shrink(columns, widths)
    lines = [_line(columns, widths, [(column.title, "bold") for column in columns])]
    for cells, cleaned in zip(rows, plain, strict=True):
        styled = [(word, _style(cell)) for word, cell in zip(cleaned, cells, strict=True)]
        lines.append(_line(columns, widths, styled))
    return "\n".join(lines)


def _shrink(columns: Sequence[Column], widths: list[int]) -> None:
    room = text.terminal_width()
    if room is None:
        return
    over = sum(widths) + 2 * (len(widths) - 1) - room
    while over > 0:
        spare = [
            (widths[i] - column.least, i)
            for i, column in enumerate(columns)
            if column.least is not None and widths[i] > column.least
        ]
        if not spare:
            return
        _, widest = max(spare)
        widths[widest] -= 1
        over -= 1


def _line(columns: Sequence[Column], widths: list[int], cells: Sequence[tuple[str, str]]) -> str:
    words: list[str] = []
    for i, (word, style) in enumerate(cells):
        shown = text.cut(word, widths[i])
        pad = " " * (widths[i] - text.width(shown))
        last = i == len(cells) - 1
        styled = text.style(shown, style)
        words.append(pad + styled if columns[i].right else styled + ("" if last else pad))
    return "  ".join(words).rstrip()


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _style(cell: Cell) -> str:
    return "" if isinstance(cell, str) else cell[1]
