"""Plain text for terminals: colour where it is wanted, widths, times, sizes."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING

from berth.gpunames import runs

if TYPE_CHECKING:
    from berth.protocol.message import Message, Part
    from berth.sdk.errors import BerthError
from berth.units import format_size

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


def colourful() -> bool:
    """True if stdout takes colour: a terminal, and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def style(text: str, *names: str) -> str:
    """The text in the styles named, or as it is where colour is not wanted."""
    codes = ";".join(_CODES[name] for name in names if name)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text and colourful() else text


def terminal_width() -> int | None:
    """Columns of the terminal; None when stdout is none and lines may be as long as they are."""
    if not sys.stdout.isatty():
        return None
    import shutil  # takes longer than most commands

    return max(20, shutil.get_terminal_size().columns)


def clean(text: str) -> str:
    """One line without control characters: names come from users and could steer the terminal."""
    return "".join(
        c if c == "\u200d" or not _steers(c) else "\N{REPLACEMENT CHARACTER}"
        for c in text.replace("\n", " ").replace("\t", " ")
    )


def message(parts: Message | None, sentence: str | None) -> str:
    """Render a server's message on one line, times on the local clock; `sentence` without parts."""
    return clean("".join(map(_part, parts.root if parts else ())) or sentence or "")


def messages(parts: Sequence[Message], sentences: Sequence[str]) -> list[str]:
    """Render several messages of a server."""
    return [message(one, said) for one, said in zip_longest(parts, sentences)]


def refusal(error: BerthError) -> str:
    """Render an error of the SDK, with the parts of the server's sentence where it has any."""
    return message(error.problem and error.problem.detail_parts, str(error))


def _part(part: Part) -> str:
    return f"{part.at.astimezone():%Y-%m-%d %H:%M}" if part.kind == "time" else str(part)


def _steers(character: str) -> bool:
    """Control characters, and the two separators that some terminals break lines at."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in {"Zl", "Zp"}


def width(text: str) -> int:
    """Return the number of columns that a text takes."""
    return sum(
        0
        if unicodedata.combining(c) or c == "\u200d"
        else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def cut(text: str, columns: int) -> str:
    """The text in at most so many columns, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > columns - 1:
            break
        kept += character
    return kept + "\N{HORIZONTAL ELLIPSIS}" if columns > 0 else ""


def span(duration: timedelta) -> str:
    """A duration in its two largest units: 0.3s, 45s, 12m, 1h05m, 3d2h."""
    exact = max(0.0, duration.total_seconds())
    if exact < 0.95:
        return f"{exact:.1f}s"
    seconds = round(exact)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02}s" if minutes < 10 and seconds else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours and days < 10 else f"{days}d"


def about(duration: timedelta) -> str:
    """A duration that is only estimated, no finer than it can be known: 40s, 12m, 1h05m, 2d."""
    seconds = max(0.0, duration.total_seconds())
    for step, below in ((1, 60), (60, 3600), (300, 36_000), (3600, 172_800)):
        rounded = round(seconds / step) * step
        if rounded < below:
            return span(timedelta(seconds=max(rounded, 1)))
    return span(timedelta(days=round(seconds / 86_400)))


def ago(moment: datetime, now: datetime | None = None) -> str:
    """A moment seen from now: `3m ago`, `in 2h`, `now`."""
    delta = (now or datetime.now(UTC)) - moment
    if abs(delta) < timedelta(seconds=1):
        return "now"
    return f"{span(delta)} ago" if delta > timedelta(0) else f"in {span(-delta)}"


def clock(moment: datetime) -> str:
    """A moment on the local clock, with the date when it is not today."""
    local = moment.astimezone()
    today = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def size(count: int | None) -> str:
    """Bytes as people say them: 512 MiB, 31.2 GiB; a dash for nothing known."""
    return "-" if count is None else format_size(count)


def plural(count: int, noun: str) -> str:
    """`1 GPU`, `3 GPUs`, `no jobs`."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def indices(numbers: list[int]) -> str:
    """Indices in the shortest way that stays plain: `0-3,6`."""
    return ",".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs(numbers)
    )
