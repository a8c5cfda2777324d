"""Encoder of prompt parts and target as token ids with labels, fitted into a length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from berth_trainer.data.chat_format import ChatFormat
from berth_trainer.data.control_tokens import ControlTokens
from berth_trainer.data.prompts import Parts, Said, Wording, messages

IGNORED = -100
PARTS = ("profile", "history", "context")
_KEPT_SIZES = 1 << 16  # texts whose length is remembered: a turn is history of many samples


@dataclass(frozen=True, slots=True)
class Encoded:
    """
    An encoded sample. Labels are IGNORED outside the target turn and its end mark, with `closing`
    also the line break behind it.

    `parts` is what was kept, `shortened` whether that is not all. `spelled`: some text spells a
    control token, which was encoded as the text that it is.
    """

    input_ids: list[int]
    labels: list[int]
    parts: Parts
    shortened: bool
    spelled: bool = False
    lengths: tuple[tuple[int, int], ...] = ()  # of PARTS: characters kept, and of the whole


class Encoder:
    """
    Encodes with one tokenizer, wording and length.

    `closing`: the line break that a chat template writes after the end mark is a label too. It is
    for training alone: a token that is always right teaches the others, and would flatter a loss.
    """

    def __init__(
        self, tokenizer: Any, wording: Wording, max_length: int, *, closing: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.wording = wording
        self.max_length = max_length
        self.closing = closing
        self._format = ChatFormat(tokenizer)
        self.control = ControlTokens(tokenizer)
        self._size = lru_cache(_KEPT_SIZES)(self._size_of)

    @property
    def longest_answer(self) -> int:
        """Return the tokens that an answer may take, its end mark included."""
        return max(1, self.max_length // 2)

    def for_training(self) -> "Encoder":
        """Return the encoder of samples that are trained on."""
        return Encoder(self.tokenizer, self.wording, self.max_length, closing=True)

    def encode(self, parts: Parts, target: str) -> Encoded:
        """
        Fit prompt and target into `max_length` tokens.

        The target stays whole unless it alone takes more than half; then its end goes. Of
        the prompt go, until it fits: the oldest history and the oldest context, whichever is
        longer, down to one item each; the last profile lines, down to one; and at last the
        inside of the longest text left. So every part that was there is still there.
        """
        plain, said = self._as_text(parts), self.control.as_text(target)
        answer = self._answer(plain, said)
        prompt, kept = self._fit(plain, self.max_length - len(answer))
        return Encoded(
            input_ids=prompt + answer,
            labels=[IGNORED] * len(prompt) + answer,
            parts=kept,
            shortened=kept != plain,
            spelled=said != target or plain != parts,
            lengths=tuple(zip(_characters(kept), _characters(plain), strict=True)),
        )

    def encode_prompt(self, parts: Parts, *, leaving: int) -> list[int]:
        """Encode the prompt alone, leaving that many tokens free, but at most half the length."""
        room = self.max_length - min(leaving, self.max_length // 2)
        return self._fit(self._as_text(parts), room)[0]

    def end_of_turn(self) -> int | None:
        """Return the token that ends an answer, None where no single token does."""
        ids = self._ids(self._format.end(messages(Parts(), self.wording)))
        return ids[-1] if ids else None

    def _as_text(self, parts: Parts) -> Parts:
        """Return the parts with every control token that they spell made plain text."""
        plain = self.control.as_text
        return Parts(
            profile=tuple(map(plain, parts.profile)),
            history=tuple(map(plain, parts.history)),
            context=tuple(replace(said, text=plain(said.text)) for said in parts.context),
        )

    def _fit(self, parts: Parts, room: int) -> tuple[list[int], Parts]:
        while True:
            prompt = self._ids(self._format.prompt(messages(parts, self.wording)))
            excess = len(prompt) - room
            if excess <= 0:
                return prompt, parts
            shorter = self._shorten(parts, excess)
            if shorter is None:  # not even the headings fit: keep what is nearest to the answer
                return prompt[-room:], parts
            parts = shorter

    def _answer(self, parts: Parts, target: str) -> list[int]:
        asked = messages(parts, self.wording)
        text = self._format.completion(asked, target)
        if self.closing:
            text += self._format.closing(asked)
        return self._ids(text)[: self.longest_answer]

    def _ids(self, text: str) -> list[int]:
        return self.control.ids_of(text)

    def _size_of(self, text: str) -> int:
        """Its tokens, and one for the line break."""
        return len(self._ids(text)) + 1

    def _shorten(self, parts: Parts, excess: int) -> Parts | None:
        sizes = {
            "history": [self._size(text) for text in parts.history],
            "context": [self._size(said.text) for said in parts.context],
        }
        longer = max(("history", "context"), key=lambda part: _droppable(sizes[part]))
        if len(sizes[longer]) > 1:
            other = "context" if longer == "history" else "history"
            over = min(excess, max(1, sum(sizes[longer]) - sum(sizes[other])))
            kept = _drop_oldest(sizes[longer], over)
            items = parts.history if longer == "history" else parts.context
            return parts.changed(longer, items[len(items) - kept :])
        if len(parts.profile) > 1:
            lines = [self._size(line) for line in parts.profile]
            return parts.changed("profile", parts.profile[: _drop_oldest(lines[::-1], excess)])
        return self._cut_inside(parts, excess)

    def _cut_inside(self, parts: Parts, excess: int) -> Parts | None:
        """Shorten the longest single text: a turn keeps its end, other texts their beginning."""
        texts = {
            "profile": "".join(parts.profile),
            "history": "".join(parts.history),
            "context": "".join(said.text for said in parts.context),
        }
        part = max(texts, key=lambda name: len(texts[name]))
        text = texts[part]
        if len(text) <= 1:
            return None
        tokens = max(1, len(self._ids(text)))
        kept = max(1, min(len(text) - 1, len(text) * (tokens - excess) // tokens))
        if part == "context":
            return parts.changed(part, [Said(parts.context[0].by_target, text[-kept:])])
        return parts.changed(part, [text[:kept]])


def _characters(parts: Parts) -> tuple[int, ...]:
    said = [one.text for one in parts.context]
    return tuple(sum(map(len, texts)) for texts in (parts.profile, parts.history, said))


def _droppable(sizes: Sequence[int]) -> int:
    return sum(sizes) if len(sizes) > 1 else -1


def _drop_oldest(sizes: Sequence[int], excess: int) -> int:
    """Return how many to keep, from the end, so that at least `excess` goes; at least one."""
    gone = 0
    for dropped, size in enumerate(sizes):
        if gone >= excess or dropped == len(sizes) - 1:
            return len(sizes) - dropped
        gone += size
    return len(sizes)
