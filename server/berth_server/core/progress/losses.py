"""Losses that are not finite, in a log or in `metrics.jsonl`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LOSS = re.compile(
    rb"\b(?:train_|training_|total_)?loss['\"]?\s{0,3}[:=]?\s{0,3}(?:tensor\()?['\"]?"
    rb"(?:(?P<bad>[+-]?(?:nan|inf(?:inity)?))\b|[+-]?\.?\d)",
    re.IGNORECASE,
)
_ENOUGH = 3
"""A scaler of half precision skips a step or two with such a loss; a run does not come back."""

_WELL = 30
"""Losses of an evaluation may be finite while those of the training are not."""


@dataclass
class Losses:
    """Losses of one log that are not finite: how many in a row, and whether it is lost."""

    bad: int = 0
    good: int = 0
    """Number in a row that are finite."""
    diverged: bool = False
    """True once several in a row were not finite, until many in a row are."""

    def read(self, data: bytes) -> None:
        """Take what is new in a log."""
        lower = data.lower()
        if b"loss" not in lower:
            return
        if not self.diverged and b"nan" not in lower and b"inf" not in lower:
            self.bad = 0 if _LOSS.search(data) is not None else self.bad
            return
        for match in _LOSS.finditer(data):
            if match["bad"] is not None:
                self.bad, self.good = self.bad + 1, 0
            else:
                self.bad, self.good = 0, self.good + 1
            if self.bad >= _ENOUGH:
                self.diverged = True
            elif self.good >= _WELL:
                self.diverged = False
