"""Thinning of curves to their extremes: least and greatest value of each bucket, and each gap."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

# A bucket keeps its least and its greatest value, and the first of its gaps.
_OF_BUCKET = 3


def extremes_of(values: Sequence[float], most: int, first: int = 0) -> list[int]:
    """
    Return the positions of at most `most` values that draw the same curve, in order.

    The ends, and of each bucket the least, the greatest and the first that is not finite. With
    fewer than five only the ends and the extremes of all. `first` is added to each.
    """
    count = len(values)
    if count <= most:
        return list(range(first, first + count))
    if most <= 0:
        return []
    if most == 1:
        return [first + count - 1]
    buckets = max(1, (most - 2) // _OF_BUCKET)
    room = most - 2
    kept = {0, count - 1}
    for bucket in range(buckets):
        begin, end = bucket * count // buckets, (bucket + 1) * count // buckets
        for place in _of_bucket(values, begin, end)[: max(0, room)]:
            if place not in kept:
                kept.add(place)
                room -= 1
    return [first + place for place in sorted(kept)]


def _of_bucket(values: Sequence[float], begin: int, end: int) -> list[int]:
    """Positions of the greatest, the least and the first gap of a bucket, the rarer sight first."""
    piece = values[begin:end]
    # The sum of numbers is a number unless one of them is none: quicker than asking each.
    if isfinite(sum(piece)):
        low, high = min(piece), max(piece)
        return [begin + piece.index(high), begin + piece.index(low)]
    finite = [(value, place) for place, value in enumerate(piece) if isfinite(value)]
    gap = next((place for place, value in enumerate(piece) if not isfinite(value)), None)
    found = [] if gap is None else [begin + gap]
    if finite:
        found += [begin + max(finite)[1], begin + min(finite)[1]]
    return found
