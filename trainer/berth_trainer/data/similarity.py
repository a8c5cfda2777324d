"""How alike two short texts are, by their character n-grams: it works without spaces too."""

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

SIZES = (2, 3)


def grams(text: str) -> Counter[str]:
    """Counts of the text's character pairs and triples, folded in width and case."""
    folded = "".join(unicodedata.normalize("NFKC", text).lower().split())
    if len(folded) < SIZES[0]:
        return Counter([folded]) if folded else Counter()
    return Counter(
        folded[place : place + size] for size in SIZES for place in range(len(folded) - size + 1)
    )


class Similarity:
    """TF-IDF cosine over a fixed set of texts: what all of them share says little."""

    def __init__(self, texts: Sequence[str]) -> None:
        counted = [grams(text) for text in texts]
        seen = Counter(gram for counts in counted for gram in counts)
        self._weights = {
            gram: math.log((1 + len(counted)) / (1 + n)) + 1 for gram, n in seen.items()
        }
        self._rare = math.log(1 + len(counted)) + 1
        self._vectors = [self._vector(counts) for counts in counted]

    def scores(self, query: str) -> list[float]:
        """The cosine of `query` with each text, in the texts' order."""
        asked = self._vector(grams(query))
        return [_dot(asked, vector) for vector in self._vectors]

    def _vector(self, counts: Counter[str]) -> dict[str, float]:
        raw = {
            gram: (1 + math.log(n)) * self._weights.get(gram, self._rare)
            for gram, n in counts.items()
        }
        norm = math.sqrt(sum(value * value for value in raw.values()))
        return {gram: value / norm for gram, value in raw.items()} if norm else {}


def _dot(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    small, large = (left, right) if len(left) < len(right) else (right, left)
    return sum(value * large.get(gram, 0.0) for gram, value in small.items())
