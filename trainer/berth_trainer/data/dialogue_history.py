"""Dialogue history: a speaker's turns in other dialogues, and the choice for a prompt."""

import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from berth_trainer.config.settings import DialogueHistorySettings
from berth_trainer.data.records import Dialogue, Turn
from berth_trainer.data.similarity import Similarity
from berth_trainer.data.store import Array, as_dialogues, as_ints, hashed

_KEPT_SPEAKERS = 16  # whose similarities stay in memory: samples come speaker by speaker


@dataclass(frozen=True, slots=True)
class Remark:
    """One turn of a speaker, with the turn it answered (empty for an opening)."""

    dialogue: str
    text: str
    answered: str


class HistoryPool:
    """
    Remarks of every speaker of one split.

    It is built from that split's dialogues alone, and a request names the dialogue that is
    being predicted, whose remarks are left out: nothing can leak from either. Remarks are
    kept as places in the store, and read when they are chosen.
    """

    def __init__(
        self, dialogues: Sequence[Dialogue], settings: DialogueHistorySettings, seed: int
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._dialogues = as_dialogues(dialogues)
        store = self._dialogues.store
        self._numbers = {name: number for number, name in enumerate(store.speakers)}
        owner, place, speaker = self._dialogues.turns()
        said = np.flatnonzero(speaker >= 0)
        said = said[np.argsort(speaker[said], kind="stable")]  # by speaker, each in time order
        self._owner, self._place = owner[said], place[said]
        self._begins = np.searchsorted(speaker[said], np.arange(len(store.speakers) + 1))
        turn = store.columns["turn_at"][self._dialogues.chosen[self._owner]] + self._place
        words = store.columns["turn_words"]
        answered = np.where(self._place > 0, words[np.maximum(turn - 1, 0)], _NOTHING)
        self._exchanges = _exchange(words[turn], answered)
        self._names = store.columns["name"][self._dialogues.chosen[self._owner]]
        self._similarity = lru_cache(_KEPT_SPEAKERS)(self._similarity_of)

    def candidates(self, speaker: str, dialogue: Dialogue) -> Array:
        """
        Return the positions of the speaker's remarks in other dialogues, in time order.

        A remark that repeats an exchange of `dialogue` word for word is the same event
        recorded twice, and left out as well.
        """
        number = self._numbers.get(speaker)
        if number is None:
            return np.zeros(0, np.int64)
        mine = slice(self._begins[number], self._begins[number + 1])
        own = [
            (hashed(turn.text), hashed(dialogue.turns[place - 1].text) if place else int(_NOTHING))
            for place, turn in enumerate(dialogue.turns)
            if turn.speaker == speaker
        ]
        texts, answered = np.array(own, np.uint64).reshape(-1, 2).T
        elsewhere = (self._names[mine] != np.uint64(hashed(dialogue.id))) & ~np.isin(
            self._exchanges[mine], _exchange(texts, answered)
        )
        return np.flatnonzero(elsewhere) + self._begins[number]

    def choose(self, dialogue: Dialogue, index: int) -> tuple[Remark, ...]:
        """
        Return the remarks for predicting turn `index`, in time order, at most `max_history`.

        all_previous: the latest; fixed_count: the latest `count`; fixed_ratio: the latest
        `ratio` of all; random: any, the same ones each time; relevance: those most like
        the turns before `index`, ties to the later remark.
        """
        speaker = dialogue.turns[index].speaker
        found = self.candidates(speaker, dialogue)
        kept = min(self._wanted(len(found)), self._settings.max_history, len(found))
        if not kept:
            return ()
        if self._settings.strategy == "random":
            draw = random.Random(f"{self._seed}/{dialogue.id}/{index}")  # noqa: S311  # repeatable on every rank
            picked = sorted(draw.sample(as_ints(found), kept))
        elif self._settings.strategy == "relevance" and index > 0:
            number = self._numbers[speaker]
            scores = self._scores(number, dialogue.turns[:index])[found - self._begins[number]]
            best = np.argsort(scores, kind="stable")[len(found) - kept :]
            picked = as_ints(np.sort(found[best]))
        else:
            picked = as_ints(found[len(found) - kept :])
        return tuple(map(self._remark, picked))

    def digest(self) -> str:
        """Return a digest that is equal where dialogues and strategy are equal."""
        key = f"{self._dialogues.store.digest} {astuple(self._settings)} {self._seed}"
        digest = blake2b(key.encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self._dialogues.chosen).tobytes())
        return digest.hexdigest()

    def _wanted(self, available: int) -> int:
        if self._settings.strategy == "fixed_count":
            return self._settings.count
        if self._settings.strategy == "fixed_ratio":
            return max(1, round(self._settings.ratio * available))
        return available

    def _remark(self, where: int) -> Remark:
        dialogue = self._dialogues[int(self._owner[where])]
        place = int(self._place[where])
        answered = dialogue.turns[place - 1].text if place else ""
        return Remark(dialogue.id, dialogue.turns[place].text, answered)

    def _scores(self, number: int, before: Sequence[Turn]) -> Array:
        asked = "\n".join(turn.text for turn in before[-4:])
        # Rounded: the last bits of a sum depend on its order, and ties go to the later remark.
        return np.round(self._similarity(number).scores(asked), 12)

    def _similarity_of(self, number: int) -> Similarity:
        remarks = map(self._remark, range(self._begins[number], self._begins[number + 1]))
        return Similarity([f"{remark.answered}\n{remark.text}" for remark in remarks])


_NOTHING = np.uint64(hashed(""))


def _exchange(text: Array, answered: Array) -> Array:
    """Combine two hashes; products of unsigned 64-bit numbers wrap around."""
    return text * np.uint64(0x9E3779B97F4A7C15) + answered
