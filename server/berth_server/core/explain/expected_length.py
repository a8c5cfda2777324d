"""Expected length of a job for people, and the warning of a time limit that is shorter."""

from __future__ import annotations

from datetime import timedelta

from berth.protocol.message import Message
from berth.protocol.progress import ExpectedLength
from berth.units import format_duration
from berth_server.core.estimate import Estimate
from berth_server.core.explain.phrases import code, exactly, span

_SURE = 0.5
_LATE = 0.9
_ROOM = 1.2
"""A limit is proposed that is so many times what nine of ten runs take."""


def expected_length(estimate: Estimate | None) -> ExpectedLength | None:
    """The expected length as clients show it; None when nothing is known."""
    if estimate is None:
        return None
    p50_s, p90_s = estimate.quantile_s(_SURE), estimate.quantile_s(_LATE)
    sentence = Message.of("about ", span(timedelta(seconds=p50_s)), f", from {estimate.source}")
    return ExpectedLength(
        seconds=round(p50_s, 1),
        seconds_p90=round(max(p50_s, p90_s), 1),
        sentence=str(sentence),
        sentence_parts=sentence,
    )


def short_limit(estimate: Estimate | None, limit: timedelta | None) -> Message | None:
    """
    Warning of a time limit that is shorter than the job should take; None if there is none.

    Only where runs of the same script tell: what else runs on so many GPUs says too little.
    """
    if estimate is None or limit is None or not estimate.own:
        return None
    p50_s, p90_s = estimate.quantile_s(_SURE), estimate.quantile_s(_LATE)
    if limit.total_seconds() >= p50_s:
        return None
    longer = format_duration(_whole(_ROOM * p90_s))
    return Message.of(
        "The time limit of ",
        exactly(limit),
        " is shorter than the job should take: about ",
        span(timedelta(seconds=p50_s)),
        f", from {estimate.source}; give ",
        code(f"--time-limit {longer}"),
        ".",
    )


def _whole(seconds: float) -> timedelta:
    """Rounded up to what people write: minutes below two hours, hours above."""
    unit = 60 if seconds < 7200 else 3600
    return timedelta(seconds=-(-seconds // unit) * unit)
