"""What a speaker said elsewhere, and which of it a prompt carries."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from berth_trainer.data.records import Dialogue, Turn
from berth_trainer.data.similarity import Similarity
from berth_trainer.settings import HistorySettings


@dataclass(frozen=True, slots=True)
class Remark:
    """One turn of a speaker, with the turn it answered (empty for an opening)."""

    dialogue: str
    text: str
    answered: str


class HistoryPool:
    """
    The remarks of every speaker of one split.

    It is built from that split's dialogues alone, and a request names the dialogue that is
    being predicted, whose remarks are left out: nothing can leak from either.
    """

    def __init__(self, dialogues: Sequence[Dialogue], settings: HistorySettings, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._remarks: dict[str, list[Remark]] = defaultdict(list)
        self._similarities: dict[str, Similarity] = {}
        for dialogue in sorted(dialogues, key=lambda dialogue: dialogue.order):
            for place, turn in enumerate(dialogue.turns):
                if turn.speaker in dialogue.targets:
                    before = dialogue.turns[place - 1].text if place else ""
                    self._remarks[turn.speaker].append(Remark(dialogue.id, turn.text, before))

    def candidates(self, speaker: str, dialogue: Dialogue) -> list[tuple[int, Remark]]:
        """
        The speaker's remarks of other dialogues in time order, with their place.

        A remark that repeats an exchange of `dialogue` word for word is the same event
        recorded twice, and left out as well.
        """
        exchanges = {
            (turn.text, dialogue.turns[place - 1].text if place else "")
            for place, turn in enumerate(dialogue.turns)
            if turn.speaker == speaker
        }
        return [
            (place, remark)
            for place, remark in enumerate(self._remarks.get(speaker, ()))
            if remark.dialogue != dialogue.id and (remark.text, remark.answered) not in exchanges
        ]

    def choose(self, dialogue: Dialogue, index: int) -> tuple[Remark, ...]:
        """
        The remarks for predicting turn `index`, in time order, at most `max_history`.

        all_previous: the latest; fixed_count: the latest `count`; fixed_ratio: the latest
        `ratio` of all; random: any, the same ones each time; relevance: those most like
        the turns before `index`, ties to the later remark.
        """
        speaker = dialogue.turns[index].speaker
        found = self.candidates(speaker, dialogue)
        kept = min(self._wanted(len(found)), self._settings.max_history, len(found))
        if self._settings.strategy == "random":
            draw = random.Random(f"{self._seed}/{dialogue.id}/{index}")  # noqa: S311  # repeatable on every rank
            picked = sorted(draw.sample(found, kept), key=lambda pair: pair[0])
        elif self._settings.strategy == "relevance" and index > 0:
            scores = self._scores(speaker, dialogue.turns[:index])
            ranked = sorted(found, key=lambda pair: (scores[pair[0]], pair[0]))
            picked = sorted(ranked[len(ranked) - kept :], key=lambda pair: pair[0])
        else:
            picked = found[len(found) - kept :]
        return tuple(remark for _, remark in picked)

    def _wanted(self, available: int) -> int:
        if self._settings.strategy == "fixed_count":
            return self._settings.count
        if self._settings.strategy == "fixed_ratio":
            return max(1, round(self._settings.ratio * available))
        return available

    def _scores(self, speaker: str, before: Sequence[Turn]) -> list[float]:
        if speaker not in self._similarities:
            remarks = self._remarks[speaker]
            self._similarities[speaker] = Similarity(
                [f"{remark.answered}\n{remark.text}" for remark in remarks]
            )
        return self._similarities[speaker].scores("\n".join(turn.text for turn in before[-4:]))
