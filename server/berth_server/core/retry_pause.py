"""Pause before a retry: it grows with each failed attempt, and the time an attempt ran counts."""

from __future__ import annotations

_FIRST_S = 1.0
_LONGEST_S = 300.0


def retry_pause_s(failures: int, ran_s: float) -> float:
    """
    Return how long to wait after the failure number `failures` of an attempt that ran so long.

    Attempts begin at least 1, 2, 4, … up to 300 seconds apart: what is away for a moment, a
    mount or a licence, is waited for, and a run that failed after hours starts again at once.
    """
    apart = min(_LONGEST_S, _FIRST_S * 2.0 ** min(max(failures, 1) - 1, 30))
    return max(0.0, apart - ran_s)
