"""One-line, shell-quoted display of commands, with the values of secrets replaced by stars."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from berth.commands.words import Word
from berth.protocol.jobs import MASK

_LONGEST = 4000
_SECRET_NAME = re.compile(
    r"(?:^|[-_.])(?:token|key|apikey|password|passwd|passphrase|secret|credentials?)(?:$|[-_.])",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(--?|)([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
_SHAPED = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|Bearer [A-Za-z0-9._~+/=-]{8,}|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[A-Z0-9]{12,})"
)
_IN_ADDRESS = re.compile(r"(://[^\s/:@'\"]+:)[^\s/@'\"]+(@)")
_COMMENTS = re.compile(r"^[ \t]*(?:#[^\n]*)?\n", re.MULTILINE)
_IN_TEXT = re.compile(
    r"""(?:(?P<set>[\w.-]{1,120})(?P<is>["']?\s{0,9}[=:]\s{0,9})
         |(?P<flag>--?[\w.-]{1,120})(?P<gap>\s{1,9})(?!-))
        (?P<value>"[^"]*"|'[^']*'|[^\s"'|&;<>()]+)""",
    re.VERBOSE,
)


def is_secret(name: str) -> bool:
    """True if a flag or variable of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


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
    start = shaped(_COMMENTS.sub("", text[: 2 * _LONGEST]).strip())
    masked = _IN_TEXT.sub(_masked, start)
    joined = re.sub(r"\\\n[ \t]*", "", masked)
    return shortened(joined.replace("\n", " ⏎ "))


def quoted(text: str) -> str:
    """Shell text as one quoted word, secrets masked."""
    return shlex.quote(text_line(text))


def shaped(text: str) -> str:
    """Mask what is a secret by its shape: tokens of well-known services, address passwords."""
    return _IN_ADDRESS.sub(rf"\1{MASK}\2", _SHAPED.sub(MASK, text))


def shortened(text: str) -> str:
    """Cut a line that no page could show."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _masked(match: re.Match[str]) -> str:
    name = match["set"] or match["flag"]
    if not is_secret(name.lstrip("-")):
        return match.group()
    return f"{name}{match['is'] or match['gap']}{MASK}"


def _shown(each: Word) -> str:
    named = _NAMED.match(each.raw)
    if named and is_secret(named.group(2)):
        return f"{named.group(1)}{named.group(2)}={MASK}"
    return shaped(" ".join(each.raw.replace("\\\n", "").split("\n")))
