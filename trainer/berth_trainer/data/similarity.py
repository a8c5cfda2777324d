"""TF-IDF similarity of short texts by character n-grams, which needs no spaces."""

import math
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from berth_trainer.data.store import Array

SIZES = (2, 3)


def grams(text: str) -> Counter[str]:
    """Count the text's character pairs and triples, folded in width and case."""
    folded = "".join(unicodedata.normalize("NFKC", text).lower().split())
    if len(folded) < SIZES[0]:
        return Counter([folded]) if folded else Counter()
    return Counter(
        folded[place : place + size] for size in SIZES for place in range(len(folded) - size + 1)
    )


class Similarity:
    """
    TF-IDF cosine over a fixed set of texts.

    Kept as an inverted index, from a gram to the texts that hold it: a question touches only
    the texts it has something in common with.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        holders: dict[str, array[int]] = defaultdict(lambda: array("i"))
        strengths: dict[str, array[float]] = defaultdict(lambda: array("d"))
        for number, text in enumerate(texts):
            for gram, count in grams(text).items():
                holders[gram].append(number)
                strengths[gram].append(1 + math.log(count))
        self._count = len(texts)
        self._rare = math.log(1 + len(texts)) + 1
        self._weights = {
            gram: math.log((1 + len(texts)) / (1 + len(found))) + 1
            for gram, found in holders.items()
        }
        squares = np.zeros(len(texts))
        weighted: dict[str, tuple[Array, Array]] = {}
        for gram, found in holders.items():
            where = np.frombuffer(found, np.int32)
            values = np.frombuffer(strengths[gram]) * self._weights[gram]
            squares[where] += values * values
            weighted[gram] = where, values
        norms = np.sqrt(squares)
        self._index = {
            gram: (where, values / norms[where]) for gram, (where, values) in weighted.items()
        }

    def scores(self, query: str) -> Array:
        """Return the cosine of `query` with each text, in the texts' order."""
        asked = {
            gram: (1 + math.log(count)) * self._weights.get(gram, self._rare)
            for gram, count in grams(query).items()
        }
        shared = [
            (self._index[gram], value) for gram, value in asked.items() if gram in self._index
        ]
        if not shared:
            return np.zeros(self._count)
        where = np.concatenate([where for (where, _), _ in shared])
        values = np.concatenate([values * value for (_, values), value in shared])
        norm = math.sqrt(sum(value * value for value in asked.values()))
        return np.bincount(where, values, self._count) / norm
