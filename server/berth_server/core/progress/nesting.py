"""Nesting of counters: epochs and steps, a run and what comes and goes beside it."""

from __future__ import annotations

from collections.abc import Sequence

from berth_server.core.progress import vocabulary
from berth_server.core.progress.counter import Counter
from berth_server.core.progress.totals import Totals

_TURN = 0.6


def spans(flat: Counter, outer: Counter) -> bool:
    """True if a counter goes on over the outer one's turns: then it is the whole run's."""
    if flat.passes or (outer.drawn and flat.drawn and flat.depth > outer.depth):
        return False
    if outer.advances:
        return flat.began < outer.changed and flat.changed > outer.changed
    # Before the first turn: a bar that was there before the first epoch was named.
    return flat.drawn and not outer.drawn and flat.began < outer.began and not flat.within


def given_up(counter: Counter, others: list[Counter], alive: list[Counter]) -> bool:
    """True if it stands still while something that began later has moved for longer."""
    if counter.returns > 1:
        return False  # others come and go between its steps
    if counter.closed and not counter.done:
        # Another bar was drawn in its place: evaluation comes and goes, what lasts longer stays.
        return not counter.moved_s or any(
            one.order > counter.order and one.moved_s > counter.moved_s for one in alive
        )
    return any(
        one.number > counter.number
        and one.began > counter.changed
        and one.depth <= counter.depth
        and one.moved_s > 2 * counter.moved_s + 1
        for one in others
    )


def turns_over(outer: Counter, inner: Counter | None) -> float:
    """
    Number of finished turns of a counter that is printed.

    "Epoch 3/10" alone is printed as the third begins; with a loss beside it, as it ends, unless it
    is printed again and again, or before the first of the steps that it holds.
    """
    first = 0 if outer.least < 1 else 1
    ended = outer.measured and outer.again <= outer.advances + 1
    each_s = outer.seconds_each
    if outer.lead_s is not None and each_s:
        # Its first line came long before a first turn could have ended.
        ended = ended and outer.lead_s >= _TURN * each_s
    if inner is not None and (outer.label in inner.within or outer.number < inner.number):
        ended = False
    return outer.value - first + (1 if ended else 0)


def turns(outer: Counter, totals: Totals) -> tuple[float, bool]:
    """
    Return the number of turns in all, and whether it is known.

    "Epoch 0/9" is printed by loops of nine (a count) and of ten (the last index) alike.
    """
    total = totals.counted_by(outer)
    if outer.counted or outer.least >= 1 or outer.total is None:
        return total, True
    said = totals.of(outer.label or "epoch")
    if said is not None and said in {total, total + 1}:
        return float(said), True
    return (total + 1, True) if outer.value >= total else (total + 0.5, False)


def in_unknown_turns(flat: Counter, seen: Sequence[Counter], totals: Totals) -> bool:
    """True if a counter is within turns of which nothing tells how many there are (yet)."""
    if not flat.within and not any(_holds(one, flat, totals) for one in seen if one.outer):
        return False
    if flat.passes:
        return True
    if flat.total is not None and totals.of("step") in {flat.total, flat.total + 1}:
        return False
    holders = [one for one in seen if one.label in flat.within]
    if holders and all(one.total == 1 for one in holders):
        return False
    return not any(one.advances and spans(flat, one) for one in holders)


def _holds(outer: Counter, flat: Counter, totals: Totals) -> bool:
    """True if a counter began after the head of an epoch, or after a bar that has not moved yet."""
    if outer.number >= flat.number or spans(flat, outer):
        return False
    if totals.counted_by(outer):
        return outer.drawn and outer.closed and not outer.advances
    return vocabulary.noun_class(outer.label.rpartition(" ")[2]) == "epoch"
