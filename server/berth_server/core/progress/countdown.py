"""Time left as a log itself states it: `eta: 0:12:34`, `remaining: 1m 12s`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from berth_server.core.progress.pace import Left

_STATED = re.compile(
    r"\b(?:eta|(?:time[ _])?remaining(?:[ _](?:wall[ _-]?clock[ _])?time)?|time[ _](?:left|to[ _]go)|"
    r"(?:estimated[ _])?time[ _]to[ _]finish)(?![a-z])['\"]?\s{0,3}[:=]?\s{0,3}['\"]?"
    r"(?:(?:(?P<days>\d{1,4})\s?d(?:ays?)?,?\s?)?(?P<clock>\d{1,4}:\d\d(?::\d\d)?)(?![\d:])"
    r"|(?P<words>(?:\d{1,5}(?:\.\d{1,4})?\s?(?:days?|hours?|min(?:ute)?s?|sec(?:ond)?s?|ms|[dhms])(?![a-zA-Z]),?\s?){1,4}))",
    re.IGNORECASE,
)
_WORD = re.compile(r"(\d{1,5}(?:\.\d{1,4})?)\s?(ms|[dhms])", re.IGNORECASE)
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LEAST = 5
_LEAST_S = 12.0
_KEPT = 12
_WANDERS = 0.35
_DRIFTS = 0.5
_AS_LONG = 1.5
_SILENT_S = 60.0
_SPREAD = 1.3


def stated_s(text: str) -> float | None:
    """The time left that a piece of a log states, seconds."""
    match = _STATED.search(text)
    if match is None:
        return None
    if match["clock"] is not None:
        seconds = 0.0
        for part in match["clock"].split(":"):
            seconds = seconds * 60 + int(part)
        return seconds + 86_400.0 * int(match["days"] or 0)
    return sum(float(n) * _UNITS[unit.lower()] for n, unit in _WORD.findall(match["words"]))


@dataclass
class Countdown:
    """
    Statements of one log, believed once they keep their word.

    A time left per epoch is stated in the same way; it starts over at each turn, and in the
    first one it is as long as the epoch's own steps take.
    """

    first_at: float | None = None
    at: float = 0.0
    left_s: float = 0.0
    _kept: list[tuple[float, float]] = field(default_factory=list)
    _started_over: bool = False
    _beyond: bool = False

    def state(self, at: float, left_s: float, turn_left_s: float | None, *, in_turn: bool) -> None:
        """
        Take a statement. `turn_left_s`: how long the present turn's own steps still take.

        `in_turn`: it stands beside steps of a turn, so it may be the turn's.
        """
        if self.first_at is None:
            self.first_at = at
        if self._kept and at <= self._kept[-1][0]:
            self._kept.pop()
        elif self._kept and left_s > 2 * self.left_s + 10 and len(self._kept) >= _LEAST:
            self._started_over = True
        self.at, self.left_s = at, left_s
        self._kept = [*self._kept[-_KEPT:], (at, left_s)]
        if not in_turn or (turn_left_s is not None and left_s > _AS_LONG * turn_left_s + 5):
            self._beyond = True

    def left(self, now: float) -> Left | None:
        """Time left now; None while the statements are not to be relied upon."""
        kept = self._kept
        if self._started_over or not self._beyond or len(kept) < _LEAST:
            return None
        span_s = kept[-1][0] - kept[0][0]
        gap_s = span_s / (len(kept) - 1)
        if span_s < _LEAST_S or now - self.at > max(_SILENT_S, 10 * gap_s):
            return None
        ends = [at + left_s for at, left_s in kept[-_LEAST:]]
        if max(ends) - min(ends) > _WANDERS * max(self.left_s, 10.0):
            return None
        if ends[-1] - (kept[0][0] + kept[0][1]) > _DRIFTS * span_s:
            return None  # it does not count down with the clock: of other work than all of this
        p50_s = max(0.0, self.left_s - (now - self.at))
        return Left(p50_s, p50_s * _SPREAD + 2.0)

    @property
    def fraction(self) -> float:
        """Part of the time since the first statement, of all there will be since then."""
        if self.first_at is None:
            return 0.0
        passed_s = self.at - self.first_at
        return passed_s / (passed_s + self.left_s) if passed_s > 0 else 0.0
