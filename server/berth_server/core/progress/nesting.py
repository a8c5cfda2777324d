"""Nesting of counters: epochs and steps, a run and what comes and goes beside it."""

from __future__ import annotations

from berth_server.core.progress.counter import Counter


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

    "Epoch 3/10" alone is printed as the third begins; with a loss beside it, as it ends.
    """
    first = 0 if outer.least < 1 else 1
    ended = outer.measured and (inner is None or outer.label not in inner.within)
    return outer.value - first + (1 if ended else 0)
