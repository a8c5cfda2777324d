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


@dataclass
class Losses:
    """Number of losses in a row that are not finite."""

    bad: int = 0

    def read(self, data: bytes) -> None:
        """Take what is new in a log."""
        lower = data.lower()
        if b"loss" not in lower:
            return
        if b"nan" not in lower and b"inf" not in lower:
            self.bad = 0 if _LOSS.search(data) is not None else self.bad
            return
        for match in _LOSS.finditer(data):
            self.bad = self.bad + 1 if match["bad"] is not None else 0

    @property
    def diverged(self) -> bool:
        """True once several in a row were not finite."""
        return self.bad >= _ENOUGH
