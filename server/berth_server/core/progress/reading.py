"""Choice of the run's own counter among all that a log shows, and how far the run is by it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from berth_server.core.progress import nesting, vocabulary
from berth_server.core.progress.countdown import Countdown, stated_s
from berth_server.core.progress.counter import Counter
from berth_server.core.progress.counts import Count, counts_in
from berth_server.core.progress.pieces import Splitter
from berth_server.core.progress.totals import Totals

COUNTDOWN = "countdown"
"""In the key of positions that were read from a time left which the log states."""
_MOST_COUNTERS = 64
_ALMOST = 0.98
_HARDLY = 1.25
_NEAR_TOTAL = 0.05
# Of bars with more steps than this, what goes on within one step does not matter.
_FEW_STEPS = 50
# Passes that are shorter may have gone unseen between two looks.
_SHORT_EPOCH_S = 10.0


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a run."""

    step: float
    total: float
    fraction: float
    key: tuple[object, ...]
    """Key of its source: positions with one key follow one another."""
    at: float
    """Time of that report, unix seconds."""
    sure: bool = True
    """False where it may be one turn more that is left, and that matters."""


@dataclass
class LogReading:
    """
    Counters of one attempt's log, fed with what is new in it.

    Nothing that a log holds makes it fail, and what it keeps is bounded.
    """

    totals: Totals = field(default_factory=Totals)
    loops_over_epochs: bool = False
    """True if the script has a loop over epochs: then a bar may be of one of them."""
    countdown: Countdown = field(default_factory=Countdown)
    _splitter: Splitter = field(default_factory=Splitter)
    _counters: dict[tuple[str, float | None, bool], Counter] = field(default_factory=dict)
    _began: float | None = None
    _lead_s: float | None = None
    _order: int = 0
    _numbers: int = 0

    def feed(self, data: bytes, at: float, *, past: bool = False) -> list[Position]:
        """
        Take what was written up to `at`; return where the run was meanwhile, oldest first.

        `past`: it is much that was written before the first look.
        """
        read: list[tuple[Count, ...]] = []
        stated: list[float | None] = []
        for piece in self._splitter.pieces(data, past=past):
            self.totals.read(piece.text)
            read.append(tuple(counts_in(piece.text, piece.depth)))
            left_s = stated_s(piece.text)
            stated.append(None if left_s is None or _is_beside(piece.text) else left_s)
        clocks = {
            (count.label, count.total): count.elapsed_s
            for counts in read
            for count in counts
            if count.elapsed_s is not None
        }
        positions: list[Position] = []
        for counts, left_s in zip(read, stated, strict=True):
            self._lead_s = None if self._began is None else at - self._began
            self._began = at if self._began is None else self._began
            for count in counts:
                last_s = clocks.get((count.label, count.total))
                # A bar's own clock tells how long ago it was drawn.
                ago_s = (
                    0.0 if last_s is None or count.elapsed_s is None else last_s - count.elapsed_s
                )
                self._see(count, at - max(0.0, ago_s))
            if left_s is not None and not any(count.drawn for count in counts):
                self._state(at, left_s, counts)
            position = self.position() if counts else None
            if position is not None:
                positions.append(position)
        return positions

    def position(self) -> Position | None:
        """Position of the run; None while nothing in the log can be relied upon."""
        found = self._counted()
        if found is not None or self.countdown.left(self.countdown.at) is None:
            return found
        done = round(100 * self.countdown.fraction, 1)
        return Position(done, 100, done / 100, (COUNTDOWN,), self.countdown.at)

    def _state(self, at: float, left_s: float, counts: tuple[Count, ...]) -> None:
        """Take a time left that the log states beside these counts."""
        inner = next((one for one in reversed(counts) if one.within and one.total), None)
        turn_left_s = None
        if inner is not None:
            counter = self._counters.get(inner.key)
            each_s = None if counter is None else counter.seconds_each
            if each_s is not None and inner.total is not None:
                turn_left_s = each_s * max(0.0, inner.total - inner.value)
        self.countdown.state(at, left_s, turn_left_s, in_turn=inner is not None)

    def _counted(self) -> Position | None:
        """Position of the run by its counters."""
        alive = [one for one in self._counters.values() if self._usable(one)]
        outer = self._outer(alive)
        flat = self._flat(alive)
        if outer is None:
            seen = list(self._counters.values())
            if flat is None or nesting.in_unknown_turns(flat, seen, self.totals):
                return None
            return self._alone(flat, alive)
        if flat is not None and nesting.spans(flat, outer):
            return self._alone(flat, alive)
        return self._nested(outer, flat, alive)

    def _see(self, count: Count, at: float) -> None:
        self._order += 1
        key = count.key
        counter = self._counters.get(key) or self._renamed(count)
        if counter is None:
            if len(self._counters) >= _MOST_COUNTERS:
                self._forget()
            self._numbers += 1
            counter = self._counters[key] = Counter.first(
                count, self._numbers, at, self._order, self._lead_s
            )
        else:
            counter.see(count, at, self._order)
        for holder in count.within:
            found = self._counters.get(holder.key)
            if found is not None:
                found.outer = True
        if count.drawn:
            # A bar drawn at the place of another has taken it: that one has ended, or was given up.
            for other in self._counters.values():
                if other is not counter and other.drawn and other.depth >= count.depth:
                    other.closed = True

    def _renamed(self, count: Count) -> Counter | None:
        """The counter of an earlier pass that had nearly this total: epochs differ by a batch."""
        if count.total is None:
            return None
        for key, counter in self._counters.items():
            label, total, drawn = key
            near = total is not None and abs(total - count.total) <= _NEAR_TOTAL * total
            if (label, drawn) == (count.label, count.drawn) and near and counter.done:
                del self._counters[key]
                counter.total = count.total
                self._counters[count.key] = counter
                return counter
        return None

    def _forget(self) -> None:
        """Forget the counter that matters least: one that hardly moved, else the oldest."""
        del self._counters[
            min(
                self._counters,
                key=lambda key: (self._counters[key].advances > 2, self._counters[key].order),
            )
        ]

    def _usable(self, counter: Counter) -> bool:
        total = self.totals.counted_by(counter)
        if total < 2 and counter.per_turn is not None:
            return counter.drops <= counter.advances + 5
        # One more than the total is how loops end that count from 0.
        return total >= 2 and counter.value <= total + 1 and counter.drops <= counter.advances + 5

    def _outer(self, alive: list[Counter]) -> Counter | None:
        """The counter of epochs or the like."""
        found = [
            one
            for one in alive
            if one.outer and not one.passes and (one.returns or one.done or not one.closed)
        ]
        return min(found, key=lambda one: (one.total is None, one.number), default=None)

    def _flat(self, alive: list[Counter]) -> Counter | None:
        """The counter of steps: the whole run's, or the present epoch's."""
        found = [one for one in alive if not one.outer and self.totals.counted_by(one) >= 2]
        last = max((one.order for one in found), default=0)
        # What has reached its end and was followed by another is not the run.
        ended = [one for one in found if one.done and one.order < last]
        # What was never seen to move may be a date, or the number of a device.
        going = [one for one in found if one not in ended and (one.drawn or one.moved)]
        going = [one for one in going if not nesting.given_up(one, going, alive)]
        chosen = min(
            going,
            key=lambda one: (
                one.depth,
                one.returns < 2,
                not one.drawn,
                not one.measured,
                -one.advances * (not one.drawn),
                one.number,
            ),
            default=None,
        )
        if chosen is None or chosen.within:
            return chosen
        # After a long phase, a new bar is not known to be the last: evaluation, next epoch.
        longest_s = max((one.moved_s for one in ended if one.number < chosen.number), default=0.0)
        return None if chosen.moved_s < longest_s else chosen

    def _alone(self, flat: Counter, alive: list[Counter]) -> Position | None:
        """By one counter of the whole run."""
        total = self.totals.counted_by(flat)
        if flat.passes:
            return self._repeated(flat, total)
        if not self._whole(total):
            return None
        done = min(flat.value, total)
        inner = None
        if flat.drawn and total <= _FEW_STEPS and done < total:
            found = [
                one
                for one in alive
                if one.drawn and one.depth > flat.depth and one.order > flat.changed
            ]
            inner = max(found, key=lambda one: one.moved_s, default=None)
        at = flat.at
        if inner is not None:
            done, at = done + inner.fraction, max(at, inner.at)
        key = (flat.number, total)
        return Position(
            done if inner is None else round(done, 3), total, min(1.0, done / total), key, at
        )

    def _whole(self, total: float) -> bool:
        """True if a counter is of the whole run; one epoch looks the same until it begins again."""
        epochs = self.totals.of("epoch", script=False)
        if epochs == 1 or self.totals.of("step") == total:
            return True
        if epochs is None and not self.loops_over_epochs:
            return True
        # The Trainer tells the epoch as a fraction, and its bar is of all epochs.
        return any(not one.outer and one.label == "epoch" for one in self._counters.values())

    def _repeated(self, flat: Counter, total: float) -> Position | None:
        """By a counter that begins again in each epoch, where something says how many there are."""
        epochs = self.totals.of("epoch")
        seen_all = flat.moved_s > _SHORT_EPOCH_S * (flat.passes + 1) and flat.least <= 1
        if epochs is None or flat.passes >= epochs or not seen_all:
            return None
        fraction = (flat.passes + flat.fraction) / epochs
        steps = round(total * epochs)
        return Position(
            round(fraction * steps), steps, fraction, (flat.number, "of", epochs), flat.at
        )

    def _nested(
        self, outer: Counter, flat: Counter | None, alive: list[Counter]
    ) -> Position | None:
        """By the turns of one counter, and how far another is within the present turn."""
        total, sure = nesting.turns(outer, self.totals)
        inner = self._inner(outer, alive)
        if inner is None and flat is None and not outer.advances and not outer.drawn:
            return None
        part = 0.0
        if inner is not None:
            turn = inner.within.get(outer.label)
            if turn is None:
                stale = inner.began < outer.changed and inner.fraction >= _ALMOST
            else:
                stale = turn != outer.value
            part = 0.0 if stale else inner.fraction
        done = outer.value if outer.counted else nesting.turns_over(outer, inner)
        fraction = min(1.0, max(0.0, done + part) / total)
        # Whichever it is, it is told while it hardly matters.
        sure = sure or (total + 0.5 - done - part) <= _HARDLY * (total - 0.5 - done - part)
        at = outer.at if inner is None else max(outer.at, inner.at)
        key = (outer.number, "of", total, inner is None, done == outer.value)
        each = None if inner is None else inner.total or inner.per_turn
        if not each:
            whole = round(total)
            return Position(min(whole, max(0.0, done)), whole, fraction, key, at, sure)
        steps = round(total * each)
        return Position(round(fraction * steps), steps, fraction, key, at, sure)

    @staticmethod
    def _inner(outer: Counter, alive: list[Counter]) -> Counter | None:
        """Counter within the present turn; the training of an epoch rather than the rest."""
        found = [
            one
            for one in alive
            if not one.outer
            and (one.total or one.per_turn)
            and (one.order > outer.changed or outer.label in one.within)
        ]
        return max(
            found,
            key=lambda one: (outer.label in one.within, one.measured, one.moved_s, one.order),
            default=None,
        )


def _is_beside(text: str) -> bool:
    """True if a line is of an evaluation or the like: it begins so, or measures nothing."""
    head = re.match(r"\W*(\w*)", text)
    if head is not None and vocabulary.beside(head[1]):
        return True
    return vocabulary.beside(text[:80]) and not vocabulary.measured(text)
