"""What every corpus becomes: people, dialogues, turns."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker said before another spoke; consecutive utterances are one turn."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """`order` sorts dialogues in time; `targets` are the speakers a model learns to be."""

    id: str
    turns: tuple[Turn, ...]
    targets: tuple[str, ...]
    order: tuple[float, str]


@dataclass(frozen=True, slots=True)
class Corpus:
    """All dialogues of one source; `profiles` holds each target's lines, most telling first."""

    name: str
    language: str
    dialogues: tuple[Dialogue, ...]
    profiles: Mapping[str, tuple[str, ...]]


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
