"""Divides a corpus by dialogue, so that nothing of one split is seen in another."""

import random
from dataclasses import dataclass

import numpy as np

from berth_trainer.data.store import Array, Dialogues, as_ints

PER_SPEAKER = 4  # a held-out speaker keeps some dialogues together: history must exist there too


@dataclass(frozen=True, slots=True)
class Splits:
    """Three sets of dialogues without overlap, each in time order."""

    train: Dialogues
    validation: Dialogues
    test: Dialogues


def split(dialogues: Dialogues, *, validation: float, test: float, seed: int) -> Splits:
    """
    Hold out the given fractions; the same seed gives the same splits on every rank.

    Held-out dialogues are taken speaker by speaker, a few each. Drawn one by one they would
    leave most held-out speakers with a single dialogue, hence without history. Dialogues
    with the same words (a record that stands twice) always share a split.
    """
    group = _twins(dialogues)  # of each dialogue, as_ints in time order
    total = int(group.max()) + 1 if len(group) else 0
    free = np.ones(total, bool)
    held: list[Array] = []
    groups_of = _by_speaker(dialogues, group)
    names = dialogues.store.speakers
    speakers = sorted(groups_of, key=names.__getitem__)
    random.Random(seed).shuffle(speakers)  # noqa: S311  # a split needs repeatability, not secrecy
    for fraction in (validation, test):
        wanted = _count(fraction, total)
        chosen = np.zeros(total, bool)
        left = wanted
        for speaker in speakers:
            if not left:
                break
            mine = groups_of[speaker]
            mine = mine[free[mine]][: min(PER_SPEAKER, left)]
            chosen[mine], free[mine] = True, False
            left -= len(mine)
        held.append(chosen)
    return Splits(*(Dialogues(dialogues.store, dialogues.chosen[part[group]])
                    for part in (free, *held)))  # fmt: skip


def without(dialogues: Dialogues, others: Dialogues) -> Dialogues:
    """The dialogues whose words do not stand among `others` (a test file of its own, say)."""
    fresh = ~np.isin(words_of(dialogues), words_of(others))
    return Dialogues(dialogues.store, dialogues.chosen[fresh])


def words_of(dialogues: Dialogues) -> Array:
    """What makes two records the same dialogue: the words in their order, hashed."""
    return dialogues.store.columns["words"][dialogues.chosen]


def _twins(dialogues: Dialogues) -> Array:
    _, first, inverse = np.unique(words_of(dialogues), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _by_speaker(dialogues: Dialogues, group: Array) -> dict[int, Array]:
    """The groups in which each target speaks, in time order."""
    owner, _, speaker = dialogues.turns()
    spoken = speaker >= 0
    pairs = np.unique(np.stack([speaker[spoken], group[owner[spoken]]]), axis=1)
    speakers, begins = np.unique(pairs[0], return_index=True)
    return dict(zip(as_ints(speakers), np.split(pairs[1], begins[1:]), strict=True))


def _count(fraction: float, total: int) -> int:
    """At least one where something was asked for and there is enough to keep training."""
    return max(1, round(fraction * total)) if fraction > 0 and total >= 3 else 0
