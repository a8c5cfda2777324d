"""Progress estimates of running attempts; in memory, read again after a restart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from berth.protocol.progress import Progress, ProgressSource
from berth_server.core.model import RunningView
from berth_server.core.progress.links import Link
from berth_server.core.progress.pace import Left
from berth_server.core.progress.reading import Position
from berth_server.core.progress.remaining import Remaining
from berth_server.core.progress.stalls import Steps

AttemptKey = tuple[int, int]
# What was not looked at for so long is not reported any more: the look must have failed.
_KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Belief:
    """Progress of one attempt and its time left, as of one look at its files."""

    source: ProgressSource
    position: Position
    left: Left | None
    looked_at: float
    """Unix seconds."""

    def left_at(self, now: float) -> Left | None:
        """Time left some seconds after the look."""
        if self.left is None or now - self.looked_at > _KEPT_S:
            return None
        since_s = max(0.0, now - self.looked_at)
        return Left(max(0.0, self.left.p50_s - since_s), max(0.0, self.left.p90_s - since_s))


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of life in the files of one attempt, as of one look."""

    steps: Steps | None
    wrote_at: float | None
    """Time at which its log last grew, unix seconds."""
    diverged: bool
    """True if its loss is not finite any more."""
    tail: str = ""
    """The last words of its log."""
    links: tuple[Link, ...] = ()
    """Links to trackers that it wrote or reported."""


class Beliefs:
    """The latest belief of each running attempt."""

    def __init__(self) -> None:
        self._known: dict[AttemptKey, Belief] = {}
        self.signs: dict[AttemptKey, Signs] = {}
        """By attempt."""

    def put(self, found: Iterable[tuple[AttemptKey, Belief | None]]) -> None:
        """Take the results of a look."""
        for key, belief in found:
            if belief is None:
                self._known.pop(key, None)
            else:
                self._known[key] = belief

    def keep(self, running: Collection[AttemptKey]) -> None:
        """Forget all other attempts."""
        for known in (self._known, self.signs):
            for key in [key for key in known if key not in running]:
                del known[key]

    def with_remaining(
        self, running: Mapping[AttemptKey, RunningView], now: float
    ) -> tuple[RunningView, ...]:
        """The running attempts, each with what it says of its own remaining time."""
        if not self._known:
            return tuple(running.values())
        return tuple(self._with_remaining(key, view, now) for key, view in running.items())

    def shown(self, key: AttemptKey, now: float) -> Progress | None:
        """The progress of one attempt as every user sees it; None where nothing tells."""
        belief = self._known.get(key)
        if belief is None:
            return None
        position, left = belief.position, belief.left_at(now)
        return Progress(
            step=_number(position.step),
            total=_number(position.total),
            fraction=round(position.fraction, 4),
            source=belief.source,
            seconds_left=None if left is None else round(left.p50_s, 1),
            seconds_left_p90=None if left is None else round(left.p90_s, 1),
            at=datetime.fromtimestamp(position.at, UTC),
        )

    def _with_remaining(self, key: AttemptKey, view: RunningView, now: float) -> RunningView:
        belief = self._known.get(key)
        left = None if belief is None else belief.left_at(now)
        if belief is None or left is None:
            return view
        at = datetime.fromtimestamp(now, UTC)
        remaining = Remaining(
            p50_s=left.p50_s,
            p90_s=left.p90_s,
            source=belief.source,
            at=at,
            step=belief.position.step,
            total=belief.position.total,
        )
        return replace(view, remaining=remaining)


def _number(value: float) -> int | float:
    """Whole numbers as such, others with three digits."""
    return int(value) if value == int(value) else round(value, 3)
