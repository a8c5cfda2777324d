"""Training samples: the turns that a model learns to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import overload

import numpy as np

from berth_trainer.data.records import Dialogue, Turn
from berth_trainer.data.store import Array, Dialogues, as_dialogues


@dataclass(frozen=True, slots=True)
class Sample:
    """Turn `index` of `dialogue`, said by a target in answer to a partner."""

    dialogue: Dialogue
    index: int

    @property
    def target(self) -> Turn:
        return self.dialogue.turns[self.index]

    @property
    def context(self) -> tuple[Turn, ...]:
        """Turns of the dialogue before the target, in order."""
        return self.dialogue.turns[: self.index]


class Samples(Sequence[Sample]):
    """Samples as two arrays: dialogue and turn."""

    def __init__(self, dialogues: Dialogues, owner: Array, place: Array, speaker: Array) -> None:
        self._dialogues, self._owner, self._place = dialogues, owner, place
        self.speaker = speaker  # the target's number in the store

    def __len__(self) -> int:
        return len(self._owner)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Samples": ...
    def __getitem__(self, index: int | slice) -> "Sample | Samples":
        if isinstance(index, slice):
            return self._at(index)
        return Sample(self._dialogues[int(self._owner[index])], int(self._place[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def spread(self, limit: int) -> "Samples":
        """Return `limit` samples, spread evenly, or all where there are fewer."""
        if not limit or limit >= len(self):
            return self
        return self._at(np.arange(limit) * len(self) // limit)

    def digest(self) -> str:
        """Return a digest that is equal for the same turns of the same corpus."""
        chosen = self._dialogues.chosen[self._owner]
        digest = blake2b(self._dialogues.store.digest.encode(), digest_size=16)
        for numbers in (chosen, self._place):
            digest.update(np.ascontiguousarray(numbers).tobytes())
        return digest.hexdigest()

    def _at(self, index: Array | slice) -> "Samples":
        return Samples(self._dialogues, self._owner[index], self._place[index], self.speaker[index])


def make_samples(dialogues: Sequence[Dialogue], *, limit: int = 0) -> Samples:
    """
    Return every target turn that follows a partner's; the same for every prompt variant.

    `limit` above 0 keeps that many, spread evenly over all of them.
    """
    given = as_dialogues(dialogues)
    owner, place, speaker = given.turns()
    asked = np.flatnonzero((place > 0) & (speaker >= 0))
    return Samples(given, owner[asked], place[asked], speaker[asked]).spread(limit)


def open_questions(dialogues: Sequence[Dialogue]) -> list[Sample]:
    """
    Return a sample for each dialogue that ends with the partner: the answer is withheld.

    Its target is an empty turn: nothing to learn from, only to predict.
    """
    found: list[Sample] = []
    for dialogue in dialogues:
        if len(dialogue.targets) != 1 or not dialogue.turns:
            continue
        (target,) = dialogue.targets
        if dialogue.turns[-1].speaker != target:
            asked = replace(dialogue, turns=(*dialogue.turns, Turn(target, "")))
            found.append(Sample(asked, len(dialogue.turns)))
    return found
