"""Health of a curve: values that are no number any more, and losses that have run away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from statistics import median
from typing import NamedTuple

from berth.protocol.message import Message
from berth.protocol.progress import TroubleKind

_LOSS = re.compile(r"loss|perplexity|ppl", re.IGNORECASE)
# Fewer values than this make no trend.
_LEAST = 40
_PART = 20
_FACTOR = 2.0


class Trouble(NamedTuple):
    """One thing that is wrong with a curve, from the value at `place` on."""

    kind: TroubleKind
    place: int


def trouble(name: str, values: Sequence[float]) -> Trouble | None:
    """
    Return what is wrong with the end of a curve; None for a healthy one.

    `not_finite`: its last values are NaN or infinite, from there on. `diverged`: a loss that
    ends above twice what it began with; single spikes are none.
    """
    if not values:
        return None
    if not isfinite(values[-1]):
        first = len(values) - 1
        while first and not isfinite(values[first - 1]):
            first -= 1
        return Trouble("not_finite", first)
    if _LOSS.search(name) is None or len(values) < _LEAST:
        return None
    part = max(3, len(values) // _PART)
    begun, ended = _middle(values[:part]), _middle(values[-part:])
    if begun is None or ended is None or begun <= 0 or ended <= _FACTOR * begun:
        return None
    bound = _FACTOR * begun
    last_good = max(i for i, value in enumerate(values) if value <= bound)
    return Trouble("diverged", min(last_good + 1, len(values) - 1))


def is_loss(name: str) -> bool:
    """Return whether a metric's name says that it is a training or evaluation loss."""
    return _LOSS.search(name) is not None


def sentence(metric: str, kind: TroubleKind, step: float | None) -> Message:
    """`loss has been NaN or infinite since step 601.`"""
    if step is None:
        return Message.of(f"{metric} is NaN or infinite.")
    at = f"{step:,.0f}" if step == int(step) else f"{step:g}"
    if kind == "not_finite":
        return Message.of(f"{metric} has been NaN or infinite since step {at}.")
    return Message.of(f"{metric} has diverged: since step {at} it is above twice its first values.")


def _middle(values: Sequence[float]) -> float | None:
    finite = [value for value in values if isfinite(value)]
    return median(finite) if finite else None
