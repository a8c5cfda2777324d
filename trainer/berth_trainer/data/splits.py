"""Splitting of a corpus by dialogue, so that no split sees another."""

import random
from dataclasses import dataclass

import numpy as np

from berth_trainer.data.store import Array, Dialogues, as_ints

PER_SPEAKER = 4  # a held-out speaker keeps some dialogues together: history must exist there too


@dataclass(frozen=True, slots=True)
class Splits:
    """Three disjoint sets of dialogues, each in time order."""

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
    """Return the dialogues whose words are not among `others`, for example a separate test file."""
    fresh = ~np.isin(words_of(dialogues), words_of(others))
    return Dialogues(dialogues.store, dialogues.chosen[fresh])


def words_of(dialogues: Dialogues) -> Array:
    """Return the hash of a dialogue's words: equal for two records of the same dialogue."""
    return dialogues.store.columns["words"][dialogues.chosen]


def _twins(dialogues: Dialogues) -> Array:
    _, first, inverse = np.unique(words_of(dialogues), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _by_speaker(dialogues: Dialogues, group: Array) -> dict[int, Array]:
    """Return the groups in which each target speaks, in time order."""
    owner, _, speaker = dialogues.turns()
    spoken = speaker >= 0
    pairs = np.unique(np.stack([speaker[spoken], group[owner[spoken]]]), axis=1)
    speakers, begins = np.unique(pairs[0], return_index=True)
    return dict(zip(as_ints(speakers), np.split(pairs[1], begins[1:]), strict=True))


def _count(fraction: float, total: int) -> int:
    """Return the number held out: at least one where a fraction is asked for and data suffice."""
    return max(1, round(fraction * total)) if fraction > 0 and total >= 3 else 0
