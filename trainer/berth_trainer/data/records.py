"""Records that every corpus format is read into: dialogues and turns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth_trainer.data.texts import Oddities


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker's words until another speaks; consecutive utterances are one turn."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue; `order` sorts by time, `targets` are the speakers that the model plays."""

    id: str
    turns: tuple[Turn, ...]
    targets: tuple[str, ...]
    order: tuple[float, str]


Profiles = dict[str, tuple[str, ...]]  # each target's lines, most telling first


@dataclass(frozen=True, slots=True)
class Source:
    """
    A corpus on disk, not yet read. `files` is all that its content depends on.

    `read` yields the dialogues one by one, fills in the profiles and notes values that are no
    text on the way; it raises UserError where a file is not what it should be.
    """

    name: str
    language: str
    files: Sequence[Path]
    read: Callable[[Profiles, Oddities], Iterator[Dialogue]]


def merge_turns(utterances: list[tuple[str, str]]) -> tuple[Turn, ...]:
    """Join consecutive utterances of one speaker: chat templates demand that roles alternate."""
    merged: list[Turn] = []
    for speaker, text in utterances:
        clean = text.strip()
        if not clean:
            continue
        if merged and merged[-1].speaker == speaker:
            merged[-1] = Turn(speaker, f"{merged[-1].text}\n{clean}")
        else:
            merged.append(Turn(speaker, clean))
    return tuple(merged)
