"""
Text metrics of persona dialogue: BLEU, ROUGE-L, F1, distinct.

Small functions of our own: sacrebleu brings 33 MB with its friends for one of them, and
rouge-score drops every character that is not Latin. Japanese and Chinese are compared by
character, other languages by lower-case word, so that nothing hangs on spaces or on a segmenter.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_WITHOUT_SPACES = frozenset({"ja", "zh"})
_WORD = re.compile(r"\w+|[^\w\s]")


def units(text: str, language: str) -> list[str]:
    """Split into characters, or words and punctuation marks; folded in width and case."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return list("".join(folded.split())) if language in _WITHOUT_SPACES else _WORD.findall(folded)


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer and its reference, in units."""

    answer: Sequence[str]
    reference: Sequence[str]


def measure(answers: Sequence[str], references: Sequence[str], language: str) -> dict[str, float]:
    """Return every metric over all pairs, 0 to 1, higher is better; empty without pairs."""
    pairs = [
        Pair(units(answer, language), units(reference, language))
        for answer, reference in zip(answers, references, strict=True)
    ]
    if not pairs:
        return {}
    return {
        **{f"bleu_{order}": bleu(pairs, order) for order in (1, 2, 4)},
        "rouge_l": sum(map(rouge_l, pairs)) / len(pairs),
        "f1": sum(map(overlap_f1, pairs)) / len(pairs),
        **{f"distinct_{size}": distinct([pair.answer for pair in pairs], size) for size in (1, 2)},
        "answer_length": sum(len(pair.answer) for pair in pairs) / len(pairs),
        "reference_length": sum(len(pair.reference) for pair in pairs) / len(pairs),
    }


def bleu(pairs: Sequence[Pair], order: int) -> float:
    """
    Return corpus BLEU up to `order`-grams with one reference and without smoothing.

    Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002.
    """
    precisions: list[float] = []
    for size in range(1, order + 1):
        matched = total = 0
        for pair in pairs:
            said, meant = _grams(pair.answer, size), _grams(pair.reference, size)
            matched += sum((said & meant).values())
            total += sum(said.values())
        if not matched:
            return 0.0
        precisions.append(matched / total)
    length = sum(len(pair.answer) for pair in pairs)
    wanted = sum(len(pair.reference) for pair in pairs)
    brevity = 1.0 if length >= wanted else math.exp(1 - wanted / length)
    return brevity * math.exp(sum(map(math.log, precisions)) / order)


def rouge_l(pair: Pair) -> float:
    """
    Return the F1 of the longest common subsequence.

    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", ACL workshop 2004.
    """
    return _f1(_common_subsequence(pair.answer, pair.reference), pair)


def overlap_f1(pair: Pair) -> float:
    """
    Return the F1 of shared units in any order, as in Dinan et al., "The Second Conversational
    Intelligence Challenge (ConvAI2)", 2019.
    """
    shared = Counter(pair.answer) & Counter(pair.reference)
    return _f1(sum(shared.values()), pair)


def distinct(answers: Sequence[Sequence[str]], size: int) -> float:
    """
    Return distinct n-grams over all n-grams of all answers.

    Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models",
    NAACL 2016. It falls with the number of answers: compare runs on the same test split.
    """
    every = Counter[tuple[str, ...]]()
    for answer in answers:
        every.update(_grams(answer, size))
    return len(every) / sum(every.values()) if every else 0.0


def _grams(text: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[at : at + size]) for at in range(len(text) - size + 1))


def _f1(shared: int, pair: Pair) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / len(pair.answer), shared / len(pair.reference)
    return 2 * precision * recall / (precision + recall)


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    above = [0] * (len(other) + 1)
    for left in one:
        row = [0]
        for place, right in enumerate(other):
            row.append(above[place] + 1 if left == right else max(above[place + 1], row[-1]))
        above = row
    return above[-1]
