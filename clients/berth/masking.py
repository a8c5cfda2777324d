"""
Secrets in texts that are shown: one rule for environments, commands, labels, events and logs.

A value is a secret by its name (`HF_TOKEN`, `--password`), by its shape (`hf_…`, `Bearer …`), or
as the password within an address. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

MASK = "********"
_NAME = re.compile(
    r"secret|passw(?:or)?d|passphrase|credential|api[-_]?key|access[-_]?key|(?:^|[-_.])pwd"
    r"|(?:token|private)(?:$|[-_.](?!ids?\b))|(?:^|[-_.])key(?:$|[-_.])",
    re.IGNORECASE,
)
# Nearly no text has any: most are not looked into further.
_HINT = re.compile("token|secret|passw|passphrase|credential|key|private|pwd", re.IGNORECASE)
_SHAPED = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|[Bb]earer [A-Za-z0-9._~+/=-]{8,}|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[A-Z0-9]{12,}"
    r"|xox[abprs]-[\w-]{10,}|berth_[A-Za-z0-9_-]{20,})"
)
_WORD = re.compile(r"[^\s'\"]+")
_AFTER_USER = re.compile("[/:@]")
_USER_ALONE = re.compile(r"(://)[\w-]{20,}(@)")
_ASSIGNED = re.compile(
    r"""(?:(?P<set>[\w.-]{1,120})(?P<is>["']?\s{0,9}[=:]\s{0,9})
         |(?P<flag>(?<![\w-])--?[\w.-]{1,120})(?P<gap>\s{1,9})(?!-))
        (?P<value>"[^"]*"|'[^']*'|[^\s"'|&;<>()]+)""",
    re.VERBOSE,
)
_CACHED_LENGTH = 4096
_MOST_ASSIGNED = 64 << 10


def is_secret(name: str) -> bool:
    """Return whether a variable, flag or field of this name holds a secret."""
    return _NAME.search(name) is not None


def masked_value(name: str, value: str) -> str:
    """Return the value of a variable as it may be shown."""
    return MASK if is_secret(name) else masked(value)


def masked_env(env: dict[str, str]) -> dict[str, str]:
    """Return an environment as it may be shown."""
    return {name: masked_value(name, value) for name, value in env.items()}


def masked_values(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask the values of a log record; a processor of structlog."""
    del logger, method
    return {
        name: masked_value(name, value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def masked_words(words: list[str]) -> list[str]:
    """Return the words of a command as they may be shown."""
    shown: list[str] = []
    hide_next = False
    for word in words:
        if hide_next and not word.startswith("-"):
            shown.append(MASK)
            hide_next = False
            continue
        shown.append(masked(word))
        hide_next = word.startswith("-") and "=" not in word and is_secret(word.lstrip("-"))
    return shown


def masked(text: str) -> str:
    """Return a text as it may be shown: an address, a command line, a script, a sentence."""
    if len(text) <= _CACHED_LENGTH:
        return _cached(text)
    return _masked(text)


def shaped(text: str) -> str:
    """Return the text without what is a secret by its shape, or a password in an address."""
    text = _SHAPED.sub(MASK, text)
    if "://" not in text:
        return text
    return _USER_ALONE.sub(rf"\1{MASK}\2", _WORD.sub(_in_address, text))


def _in_address(match: re.Match[str]) -> str:
    """
    Return a word without the password of an address in it: up to the word's last @.

    Passwords hold slashes and further @s although they should not. By hand, in one pass: an
    expression for it takes the square of the length of a hostile script, while all wait.
    """
    word = match.group()
    last = word.rfind("@")
    at = word.find("://")
    while 0 <= at < last:
        end = _AFTER_USER.search(word, at + 3)
        if end is not None and end.group() == ":" and end.end() < last:
            return f"{word[: end.end()]}{MASK}{word[last:]}"
        at = word.find("://", at + 3)
    return word


def _masked(text: str) -> str:
    # What a job could not have typed is not searched for names.
    start, rest = text[:_MOST_ASSIGNED], text[_MOST_ASSIGNED:]
    found = _ASSIGNED.sub(_assignment, start) if _HINT.search(start) else start
    return shaped(found + rest)


_cached = lru_cache(maxsize=2048)(_masked)


def _assignment(match: re.Match[str]) -> str:
    name = match["set"] or match["flag"]
    if not is_secret(name.lstrip("-")):
        return match.group()
    quote = match["value"][0] if match["value"][0] in "\"'" else ""
    return f"{name}{match['is'] or match['gap']}{quote}{MASK}{quote}"
