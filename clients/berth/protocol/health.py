"""Health of a run, as its curves tell it."""

from __future__ import annotations

from typing import Literal

from berth.protocol.base import Wire
from berth.protocol.message import Message

TroubleKind = Literal["not_finite", "diverged"]


class CurveTrouble(Wire):
    """Something that is wrong with the end of a curve."""

    kind: TroubleKind
    """`not_finite`: the last values are NaN or infinite; `diverged`: a loss that ends above twice
    what it began with."""
    step: float
    """The step since which."""


class RunTrouble(CurveTrouble):
    """Loss of a run that is NaN, infinite, or has run away."""

    metric: str
    """Name of the loss."""
    sentence: str
    """For people."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""
