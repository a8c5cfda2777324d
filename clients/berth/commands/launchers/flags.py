"""Flags that may stand anywhere in a command: found, read, taken out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from berth.commands import gpu_request
from berth.commands.gpu_request import GpuRequest
from berth.commands.words import Word


@dataclass(frozen=True)
class Found:
    """A flag with its value."""

    at: int
    width: int
    value: str
    said: str
    literal: bool


def find(words: Sequence[Word], *names: str) -> Found | None:
    """The last of these flags, `--name value` or `--name=value`; hyphens and underscores are alike."""
    found: Found | None = None
    for at, each in enumerate(words):
        written, equals, value = each.text.partition("=")
        if not _is(written, names):
            continue
        if equals:
            found = Found(at, 1, value, each.raw, each.literal)
        elif at + 1 < len(words) and not words[at + 1].text.startswith("--"):
            following = words[at + 1]
            said = f"{each.raw} {following.raw}"
            found = Found(at, 2, following.text, said, following.literal)
    return found


def first(words: Sequence[Word], *names: str) -> Found | None:
    """The first of these flags: what stands behind may be another program's."""
    at = next((n for n, each in enumerate(words) if _is(each.text.partition("=")[0], names)), None)
    return None if at is None else find(words[at : at + 2], *names)


def count(words: Sequence[Word], *names: str) -> GpuRequest:
    """The number that one of these flags gives."""
    found = find(words, *names)
    return GpuRequest() if found is None else gpu_request.count(found.value, found.said)


def has(words: Sequence[Word], *names: str) -> bool:
    """True if one of these flags, or switches, stands there."""
    return any(_is(each.text.partition("=")[0], names) for each in words)


def without(
    words: Sequence[Word], valued: Collection[str], switches: Collection[str] = ()
) -> tuple[list[Word], list[str]]:
    """The words without these flags, and what was taken out as it was written."""
    kept: list[Word] = []
    taken: list[str] = []
    at = 0
    while at < len(words):
        written, equals, _ = words[at].text.partition("=")
        if _is(written, switches):
            taken.append(words[at].raw)
            at += 1
        elif _is(written, valued):
            width = 1 if equals or at + 1 >= len(words) else 2
            taken.append(" ".join(each.raw for each in words[at : at + width]))
            at += width
        else:
            kept.append(words[at])
            at += 1
    return kept, taken


def _is(written: str, names: Collection[str]) -> bool:
    if not written.startswith("-"):
        return False
    return written.replace("_", "-") in {name.replace("_", "-") for name in names}
