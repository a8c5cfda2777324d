"""Direction of a metric, more or less is better, from its name. Standard library only."""

from __future__ import annotations

import re

# clients/web/src/model/curves.ts holds the same words; a test compares them.
LESS = re.compile(
    r"loss|perplexity|ppl|error|wer|cer|latency|seconds|runtime|memory", re.IGNORECASE
)
MORE = re.compile(
    r"acc|f1|bleu|rouge|distinct|reward|per_s|throughput|score|precision|recall|auc|mfu",
    re.IGNORECASE,
)


def more_is_better(name: str) -> bool:
    """True if the greatest value of the metric is its best: only where its name says so."""
    return MORE.search(name) is not None and LESS.search(name) is None
