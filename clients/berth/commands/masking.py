"""One-line, shell-quoted display of commands, with the values of secrets replaced by stars."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from berth.commands.words import Word
from berth.masking import MASK, is_secret, masked, shaped

_LONGEST = 4000
_NAMED = re.compile(r"(--?|)([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
_COMMENTS = re.compile(r"^[ \t]*(?:#[^\n]*)?\n", re.MULTILINE)


def line(words: Sequence[Word]) -> str:
    """The words as one shell-quoted line, secrets masked."""
    out: list[str] = []
    hide_next = False
    for each in words:
        if hide_next and not each.startswith("-"):
            out.append(MASK)
            hide_next = False
            continue
        out.append(_shown(each))
        flag = each.startswith("-") and "=" not in each.text
        hide_next = flag and is_secret(each.text.lstrip("-"))
    return shortened(" ".join(out))


def text_line(text: str) -> str:
    """Shell text as one line: comment lines left out, line ends as ⏎, secrets masked."""
    shown = masked(_COMMENTS.sub("", text[: 2 * _LONGEST]).strip())
    joined = re.sub(r"\\\n[ \t]*", "", shown)
    return shortened(joined.replace("\n", " ⏎ "))


def quoted(text: str) -> str:
    """Shell text as one quoted word, secrets masked."""
    return shlex.quote(text_line(text))


def shortened(text: str) -> str:
    """Cut a line that no page could show."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _shown(each: Word) -> str:
    named = _NAMED.match(each.raw)
    if named and is_secret(named.group(2)):
        return f"{named.group(1)}{named.group(2)}={MASK}"
    return shaped(" ".join(each.raw.replace("\\\n", "").split("\n")))
