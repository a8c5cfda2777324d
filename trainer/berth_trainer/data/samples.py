"""Which turns a model learns to say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from berth_trainer.data.records import Dialogue, Turn


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
        """The turns of the dialogue before the target, in order."""
        return self.dialogue.turns[: self.index]


def make_samples(dialogues: Sequence[Dialogue], *, limit: int = 0) -> list[Sample]:
    """
    Every target turn that follows a partner's; the same list for every ablation.

    `limit` above 0 keeps that many, spread evenly over all of them.
    """
    found = [
        Sample(dialogue, index)
        for dialogue in dialogues
        for index, turn in enumerate(dialogue.turns)
        if index > 0 and turn.speaker in dialogue.targets
    ]
    if not limit or limit >= len(found):
        return found
    return [found[place * len(found) // limit] for place in range(limit)]


def open_questions(dialogues: Sequence[Dialogue]) -> list[Sample]:
    """
    One sample for each dialogue that ends with the partner, whose answer is held back.

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
