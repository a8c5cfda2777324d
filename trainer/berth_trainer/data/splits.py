"""Divides a corpus by dialogue, so that nothing of one split is seen in another."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from berth_trainer.data.records import Dialogue

PER_SPEAKER = 4  # a held-out speaker keeps some dialogues together: history must exist there too


@dataclass(frozen=True, slots=True)
class Splits:
    """Three sets of dialogues without overlap, each in time order."""

    train: tuple[Dialogue, ...]
    validation: tuple[Dialogue, ...]
    test: tuple[Dialogue, ...]


def split(
    dialogues: Sequence[Dialogue], *, validation: float, test: float, seed: int
) -> Splits:  # fmt: skip
    """
    Hold out the given fractions; the same seed gives the same splits on every rank.

    Held-out dialogues are taken speaker by speaker, a few each. Drawn one by one they would
    leave most held-out speakers with a single dialogue, hence without history. Dialogues
    with the same words (a record that stands twice) always share a split.
    """
    twins: dict[tuple[str, ...], list[Dialogue]] = defaultdict(list)
    for dialogue in dialogues:
        twins[fingerprint(dialogue)].append(dialogue)
    groups = sorted(twins.values(), key=lambda group: group[0].order)
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        for speaker in group[0].targets:
            by_speaker[speaker].append(index)
    speakers = sorted(by_speaker)
    random.Random(seed).shuffle(speakers)  # noqa: S311  # a split needs repeatability, not secrecy

    free = set(range(len(groups)))
    held: list[set[int]] = []
    for fraction in (validation, test):
        wanted = _count(fraction, len(groups))
        chosen: set[int] = set()
        for speaker in speakers:
            mine = [index for index in by_speaker[speaker] if index in free][:PER_SPEAKER]
            chosen.update(mine[: wanted - len(chosen)])
            free -= chosen
            if len(chosen) >= wanted:
                break
        held.append(chosen)
    return Splits(*(_gather(groups, part) for part in (free, *held)))


def without(dialogues: Sequence[Dialogue], others: Sequence[Dialogue]) -> tuple[Dialogue, ...]:
    """The dialogues whose words do not stand among `others` (a test file of its own, say)."""
    seen = {fingerprint(dialogue) for dialogue in others}
    return tuple(dialogue for dialogue in dialogues if fingerprint(dialogue) not in seen)


def fingerprint(dialogue: Dialogue) -> tuple[str, ...]:
    """What makes two records the same dialogue: the words in their order."""
    return tuple(turn.text for turn in dialogue.turns)


def _count(fraction: float, total: int) -> int:
    """At least one where something was asked for and there is enough to keep training."""
    return max(1, round(fraction * total)) if fraction > 0 and total >= 3 else 0


def _gather(groups: list[list[Dialogue]], chosen: set[int]) -> tuple[Dialogue, ...]:
    found = [dialogue for index in chosen for dialogue in groups[index]]
    return tuple(sorted(found, key=lambda dialogue: dialogue.order))
