"""One counter of a log over time: what it counts to, how often it began again, how long it moved."""

from __future__ import annotations

from dataclasses import dataclass, field

from berth_server.core.progress.counts import Count

_SMALL_DROP = 0.05
_FEW = 10


@dataclass
class Counter:
    """A label and a total that were seen together, and what became of the count."""

    label: str
    total: float | None
    number: int
    """Its number among all that were ever seen."""
    drawn: bool
    """True if it is a bar, which is drawn again and again."""
    outer: bool
    """True if its label says that it counts epochs or the like."""
    value: float
    at: float
    """Time at which it was last drawn."""
    order: int
    """The place in the log of its last drawing."""
    counted: bool = False
    """True if its value is what is done, rather than the number of what is under way."""
    depth: int = 0
    advances: int = 0
    """Number of times it was seen to have gone on."""
    passes: int = 0
    """Number of times it began again."""
    moved_s: float = 0.0
    """Time that it was moving, all passes together."""
    moved_at: float = 0.0
    changed: int = 0
    """The place in the log where it last changed."""
    began: int = 0
    """The place in the log where its present pass began."""
    measured: bool = False
    least: float = 0.0
    within: dict[str, float] = field(default_factory=dict[str, float])
    """Text that held it: labels and values."""
    closed: bool = False
    """A bar that another took the place of."""
    drops: int = 0
    moved_by: float = 0.0
    """Counts made in `moved_s`."""
    again: int = 0
    """Number of times it was seen with the value that it had."""
    returns: int = 0
    """Number of times it went on after another bar had taken its place."""
    lead_s: float | None = None
    """Time from the beginning of the log to its first sight; None where it stood first."""
    per_turn: float | None = None
    """Counts in one turn of what holds it, once one has ended: its total where none is written."""
    first_turn: float | None = None
    """Turn in which it was first seen."""

    @classmethod
    def first(
        cls, count: Count, number: int, at: float, order: int, lead_s: float | None = None
    ) -> Counter:
        """The counter that begins with this count."""
        return cls(
            label=count.label,
            total=count.total,
            number=number,
            drawn=count.drawn,
            counted=count.counted,
            outer=count.outer and count.whole,
            value=count.value,
            at=at,
            order=order,
            depth=count.depth,
            moved_at=at,
            changed=order,
            began=order,
            measured=count.measured,
            least=count.value,
            lead_s=lead_s,
            within={one.label: one.value for one in count.within},
        )

    def see(self, count: Count, at: float, order: int) -> None:
        """Take the next drawing of it."""
        self.measured = self.measured or count.measured
        behind = self.value - count.value
        self.returns += self.closed and behind < 0
        self.depth, self.closed = count.depth, False
        self._turn(count)
        self.again += not behind
        if count.value > self.value:
            self.advances += 1
            self.moved_s += max(0.0, at - self.moved_at)
            self.moved_by += count.value - self.value
            self.moved_at, self.changed = at, order
        elif behind > 0:
            if self._another_rank(behind):
                self.drops += 1
                self.at, self.order = at, order
                return
            self.passes += 1
            self.moved_at, self.changed, self.began = at, order, order
        self.value, self.at, self.order = count.value, at, order
        self.least = min(self.least, count.value)

    def _another_rank(self, behind: float) -> bool:
        """True if it is the line of another process, a little behind."""
        if self.total is None:
            return behind <= 1
        return self.total > _FEW and behind <= max(1.0, self.total * _SMALL_DROP)

    def _turn(self, count: Count) -> None:
        """Take the turn that it stands in: at its end it is known how much one holds."""
        before = next(iter(self.within.values()), None)
        self.within = {one.label: one.value for one in count.within}
        now = next(iter(self.within.values()), None)
        if before is None or now is None or self.total is not None:
            return
        if self.first_turn is None:
            self.first_turn = before
        if now == before + 1 and now > self.first_turn:
            turns = 1.0 if count.value < self.value else now - self.first_turn
            self.per_turn = (self.value + (1 if self.least < 1 else 0)) / turns

    @property
    def moved(self) -> bool:
        """True once its number was seen to change."""
        return self.advances > 0 or self.passes > 0

    @property
    def seconds_each(self) -> float | None:
        """Mean duration of one count; None before it moved."""
        return self.moved_s / self.moved_by if self.moved_by > 0 else None

    @property
    def done(self) -> bool:
        """True if it has reached its total, in its present pass."""
        return self.total is not None and self.value >= self.total

    @property
    def fraction(self) -> float:
        """Fraction of its present pass, or of the turn that holds it, that is done."""
        if self.total:
            return min(1.0, self.value / self.total)
        if not self.per_turn:
            return 0.0
        turns = 0.0
        if not self.passes and self.first_turn is not None:
            turns = next(iter(self.within.values()), self.first_turn) - self.first_turn
        return min(1.0, max(0.0, self.value / self.per_turn - turns))
