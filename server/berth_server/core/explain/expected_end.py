"""End of a running attempt, as reasons tell it: by its progress, its time limit or history."""

from __future__ import annotations

from datetime import datetime, timedelta

from berth.protocol.message import Message
from berth_server.core.explain.phrases import clock, span
from berth_server.core.model import RunningView
from berth_server.core.progress.remaining import Remaining


def end_of(now: datetime, run: RunningView | None) -> tuple[datetime | None, Message]:
    """Expected end of an attempt, and the words for it."""
    if run is None:
        return None, Message.of(", which has ended and is being cleaned up")
    if run.stopping:
        return None, Message.of(", which is stopping")
    limit = None if run.time_limit is None else (run.started_at or now) + run.time_limit
    if run.remaining is not None:
        until, words = _by_progress(now, run.remaining)
        if limit is None or until < limit:
            return until, words
    if limit is not None:
        until = limit
        return until, Message.of(" until ", clock(until), " at the latest")
    if run.estimate is not None:
        elapsed_s = max(0.0, (now - run.started_at).total_seconds()) if run.started_at else 0.0
        left = timedelta(seconds=run.estimate.quantile_s(0.5, elapsed_s=elapsed_s) - elapsed_s)
        until = now + left
        return until, Message.of(
            ", probably until ", clock(until), f", judging by {run.estimate.source}"
        )
    return None, Message.of(", which has no time limit")


def _by_progress(now: datetime, remaining: Remaining) -> tuple[datetime, Message]:
    """`, until about 14:20 ± 6m: step 3,120 of 5,000`"""
    until = now + timedelta(seconds=remaining.quantile_s(0.5, now))
    around = now + timedelta(seconds=remaining.quantile_s(0.9, now)) - until
    place = ""
    if remaining.step is not None and remaining.total is not None:
        place = f": step {remaining.step:,.10g} of {remaining.total:,.10g}"
    return until, Message.of(
        ", until about ", clock(until), " \N{PLUS-MINUS SIGN} ", span(around), place
    )
