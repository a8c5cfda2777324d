"""
Order of gangs that need the whole box: where the box is cleared for them.

While the box clears and while the gang runs, all others wait, so a gang is not weighed
against the next job alone but against all that could go before it. Of two pieces of work that
exclude each other the one with more weight per time goes first (Smith, "Various optimizers for
single-stage production", 1956); jobs that keep their order among themselves are compared as
blocks, each made as good as it gets (Sidney, "Decomposition algorithms for single-machine
sequencing", 1975).

- The time of a job is by how much it puts off the moment at which the box is clear. What ends
  before that moment anyway costs nothing and goes first.
- Twenty short jobs that wait after a gang's end are a heavy block for a short time: they go
  before the next gang, however each compares. A lone job that would keep the box from being
  cleared for hours does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

CHAIN = 200
"""So many of the other jobs are compared with the gang; those behind come after it."""


@dataclass(frozen=True, slots=True)
class Block:
    """A job as the comparison sees it."""

    weight: float
    length_s: float
    """As expected."""
    gpus: int


def blocks_before(gang: Block, others: Sequence[Block], free_s: Sequence[float]) -> int:
    """
    Number of `others`, jobs in their order, that go before a job of the whole box.

    `free_s` tells for each GPU in how many seconds it should come free. With a GPU that is not
    in sight of being free the gang cannot start, and all go before it.
    """
    times_s = sorted(free_s)
    clear_s = times_s[-1]
    if clear_s == inf:
        return len(others)
    blocks: list[tuple[float, float, int]] = []
    """Weight, seconds and number of jobs; each has more weight per second than the next."""
    for job in others[:CHAIN]:
        end_s = times_s[job.gpus - 1] + job.length_s if job.gpus else 0.0
        times_s[: job.gpus] = [end_s] * job.gpus
        times_s.sort()
        weight, seconds, count = job.weight, max(0.0, end_s - clear_s), 1
        clear_s = max(clear_s, end_s)
        while blocks and weight * blocks[-1][1] >= blocks[-1][0] * seconds:
            before = blocks.pop()
            weight, seconds, count = weight + before[0], seconds + before[1], count + before[2]
        blocks.append((weight, seconds, count))
    first = 0
    for weight, seconds, count in blocks:
        if weight * gang.length_s <= gang.weight * seconds:
            break
        first += count
    return first
