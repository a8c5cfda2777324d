"""Placement: a multi-GPU job gets the best linked GPUs that leave the best linked rest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from math import comb

from berth_server.core.model import GpuView, Links

_LINK_SCORE = {"X": 0, "PIX": 50, "PXB": 40, "PHB": 30, "NODE": 20, "SYS": 10}
_SAME_NUMA = 5
MOST_SETS = 5000
"""Above this many candidate sets the gang is grown greedily instead (C(16, 8) is 12,870)."""
Place = tuple[int, int | None, int]
"""A GPU as far as it matters here: index, NUMA node, bytes of memory."""
Scores = list[list[int]]
Merit = tuple[int, int, int, int, tuple[int, ...]]


def choose(free: Sequence[GpuView], count: int, links: Links = ()) -> tuple[str, ...]:
    """
    Return the UUIDs of `count` of the `free` GPUs, in index order.

    Wins, in this order: the strongest weakest link inside the gang (a collective runs at the
    speed of its slowest hop), the strongest links in all, the strongest links among the GPUs
    that stay free, the least GPU memory (big GPUs are left to those who need them), the
    lowest indices. Raises ValueError if there are fewer than `count`.
    """
    if count > len(free):
        raise ValueError(f"{count} GPUs wanted, {len(free)} free.")
    ordered = sorted(free, key=lambda gpu: gpu.index)
    if count == len(ordered):
        return tuple(gpu.uuid for gpu in ordered)
    if count == 0:
        return ()
    return tuple(ordered[i].uuid for i in _choose(places(ordered), count, links))


def places(gpus: Sequence[GpuView]) -> tuple[Place, ...]:
    """The GPUs as placement compares them."""
    return tuple((gpu.index, gpu.numa_node, gpu.memory_total_bytes) for gpu in gpus)


@lru_cache(maxsize=4096)
def _choose(where: tuple[Place, ...], count: int, links: Links) -> tuple[int, ...]:
    scores = link_scores(where, links)
    if comb(len(where), count) > MOST_SETS:
        return _grow(scores, count)
    return max(
        combinations(range(len(where)), count), key=lambda chosen: merit(scores, where, chosen)
    )


def link_scores(where: Sequence[Place], links: Links) -> Scores:
    """Link scores of each two GPUs: higher is faster."""
    return [[_link_score(a, b, links) for b in where] for a in where]


def merit(scores: Scores, where: Sequence[Place], chosen: Sequence[int]) -> Merit:
    """Key that compares two GPU sets of the same size, member by member; the larger wins."""
    inside = [scores[a][b] for a, b in combinations(chosen, 2)]
    rest = [i for i in range(len(where)) if i not in chosen]
    return (
        min(inside, default=0),
        sum(inside),
        sum(scores[a][b] for a, b in combinations(rest, 2)),
        -sum(where[i][2] for i in chosen),
        tuple(-i for i in chosen),
    )


def _link_score(a: Place, b: Place, links: Links) -> int:
    same_numa = _SAME_NUMA if a[1] is not None and a[1] == b[1] else 0
    if max(a[0], b[0]) >= len(links):
        return same_numa
    name = links[a[0]][b[0]]
    if name.startswith("NV"):
        return 100 * int(name[2:] or 1) + same_numa
    return _LINK_SCORE.get(name, 0) + same_numa


def _grow(scores: Scores, count: int) -> tuple[int, ...]:
    """Start from each GPU in turn, add the best linked next one, keep the best result."""
    best: tuple[int, tuple[int, ...]] | None = None
    for seed in range(len(scores)):
        chosen = [seed]
        while len(chosen) < count:
            rest = (i for i in range(len(scores)) if i not in chosen)
            chosen.append(max(rest, key=lambda i: (sum(scores[i][j] for j in chosen), -i)))
        chosen.sort()
        total = sum(scores[a][b] for a, b in combinations(chosen, 2))
        if best is None or total > best[0]:
            best = (total, tuple(chosen))
    return best[1] if best else ()
