"""Control tokens of a tokenizer, and texts that spell them."""

import string
from itertools import pairwise
from typing import Any
from unicodedata import is_normalized, normalize

from berth_trainer.data.texts import CUT, REPLACED

_PUNCTUATION = frozenset(string.punctuation)


class ControlTokens:
    """
    Tokens that are no text: special ones, and added ones that are written like marks.

    An added word or run of blanks is text. `<think>`, `<|im_end|>`, `[INST]` are marks, even
    where the tokenizer does not call them special.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        special = set(tokenizer.all_special_ids)
        found = {
            number: str(token.content)
            for number, token in added.items()
            if token.special or number in special or _is_mark(str(token.content))
        }
        # An unknown character is none: only the spelled-out token is.
        self.ids = (frozenset(found) | special) - {tokenizer.unk_token_id}
        # A tokenizer may fold case or width before it looks for its tokens.
        self._spelled = {mark for mark in found.values() if mark}
        self._folded = {_folded(mark) for mark in self._spelled} - {""}
        self._lengths = sorted({len(mark) for mark in self._spelled | self._folded})
        self._openers = {mark[0] for mark in self._spelled | self._folded}

    def as_text(self, text: str) -> str:
        """
        Return the text with CUT inside each control token that it spells.

        Encoded with `ids_of` it gives the ids of plain text, never a control token.
        """
        if not self.spells(text):
            return text
        places = self._places(text)
        lone = {at for at, length in places if length == 1}
        text = "".join(REPLACED if at in lone else letter for at, letter in enumerate(text))
        edges = [0, *sorted({at + 1 for at, length in places if length > 1}), len(text)]
        cut = CUT.join(text[begin:end] for begin, end in pairwise(edges))
        if self.ids.isdisjoint(self.ids_of(cut)):
            return cut
        # The tokenizer folds characters before it looks for its tokens: spell letter by letter.
        letters = [letter for letter in text if self.ids.isdisjoint(self._encoded(letter))]
        return CUT.join(letters)

    def spells(self, text: str) -> bool:
        """Return True where the text may spell a control token, or the tokenizer makes it one."""
        if self._places(text):
            return True
        if text.isascii() and text.islower():
            return False
        folded = _folded(text) if not is_normalized("NFKC", text) or not text.islower() else text
        return bool(self._places(folded)) and not self.ids.isdisjoint(self._encoded(text))

    def example(self, text: str) -> str:
        """Return the first control token that a text spells, as it is spelled."""
        places = self._places(text) or self._places(_folded(text))
        at, length = max(places, key=lambda place: (-place[0], place[1]), default=(0, 0))
        return text[at : at + length]

    def ids_of(self, text: str) -> list[int]:
        """Encode a text; no token spans a CUT."""
        if CUT not in text:
            return self._encoded(text)
        return [number for piece in text.split(CUT) if piece for number in self._encoded(piece)]

    def first_in(self, text: str) -> int | None:
        """Return where the first control token in a text ends, None where there is none."""
        places = self._places(text)
        if not places:
            return None
        first = min(at for at, _ in places)
        return max(at + length for at, length in places if at == first)

    def _encoded(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _places(self, text: str) -> list[tuple[int, int]]:
        """Return begin and length of each control token that is spelled in a text."""
        if self._openers.isdisjoint(text):
            return []
        known = self._spelled | self._folded
        return [
            (at, length)
            for at, letter in enumerate(text)
            if letter in self._openers
            for length in self._lengths
            if text[at : at + length] in known
        ]


def _is_mark(text: str) -> bool:
    return not _PUNCTUATION.isdisjoint(text) and len(text.strip()) > 1


def _folded(text: str) -> str:
    return normalize("NFKC", text).lower()
