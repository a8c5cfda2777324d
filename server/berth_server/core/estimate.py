"""How long a job may run: what earlier runs say, and what surviving so far adds to it."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, log


@dataclass(frozen=True)
class Estimate:
    """Possible run times, each as likely as the others."""

    samples_s: tuple[float, ...]
    """Seconds, ascending, at least one."""
    source: str = "earlier runs"
    """For people, e.g. "12 earlier runs of train.py on 4 GPUs by ada"."""

    @cached_property
    def mean_s(self) -> float:
        """The expected run time."""
        return sum(self.samples_s) / len(self.samples_s)

    @cached_property
    def typical_s(self) -> float:
        """The geometric mean: what a run takes, with the rare long one counted softly."""
        return exp(sum(log(max(1.0, s)) for s in self.samples_s) / len(self.samples_s))

    def quantile_s(self, q: float, *, elapsed_s: float = 0.0) -> float:
        """
        The run time that a share `q` of runs stays below, given that it outlived `elapsed_s`.

        A run that outlives every sample is expected to go on for half of what it has run:
        run times have heavy tails.
        """
        samples = self.samples_s
        first = bisect_right(samples, elapsed_s) if elapsed_s > 0.0 else 0
        left = len(samples) - first
        if left == 0:
            return elapsed_s * 1.5
        return samples[first + min(left - 1, int(q * left))]


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """What makes runs comparable."""

    user: str
    script: str
    """What is run: the script's path or the command's first words."""
    gpus: int
    ablation: str = ""
    """Its cell of an ablation, where it has one."""
    limit_s: float | None = None
    """Its time limit: users who know their job say so with it."""


@dataclass
class History:
    """
    Lengths of ended runs, by what was run; the most telling few give the estimate.

    Feed it with `record` in the order in which runs ended, leaving out runs that were cut
    short (cancelled, preempted, lost): they say nothing of the length.
    """

    window: int = 30
    """How many of the latest runs of a kind count."""
    enough: int = 5
    """With fewer runs of the very same kind, runs of a wider kind are added."""
    kinds: dict[Hashable, deque[float]] = field(default_factory=dict)

    def record(self, key: RunKey, length_s: float) -> None:
        """Add a run that ended by itself."""
        for kind, _ in _widening(key):
            runs = self.kinds.get(kind)
            if runs is None:
                runs = self.kinds[kind] = deque(maxlen=self.window)
            runs.append(length_s)

    def estimate(self, key: RunKey) -> Estimate | None:
        """What is known of a run before it starts; None when nothing is."""
        limit_s = key.limit_s
        for kind, phrase in _widening(key):
            runs = self.kinds.get(kind)
            if runs and len(runs) >= self.enough:
                if limit_s is not None:
                    samples = sorted(min(length_s, limit_s) for length_s in runs)
                else:
                    samples = sorted(runs)
                return Estimate(tuple(samples), f"{len(runs)} earlier runs {phrase}")
        return None


def _widening(key: RunKey) -> tuple[tuple[Hashable, str], ...]:
    """The kinds that a run belongs to, most telling first, with words for people."""
    gpus = "1 GPU" if key.gpus == 1 else f"{key.gpus} GPUs"
    same = (key.user, key.script, key.gpus)
    kinds: list[tuple[Hashable, str]] = []
    if key.ablation:
        kinds.append(((*same, key.ablation), f"of {key.ablation} ({key.script}) on {gpus}"))
    if key.limit_s is not None:
        kinds.append(
            (
                (*same, "limit", key.limit_s),
                f"of {key.script} on {gpus} by {key.user} with this time limit",
            )
        )
    kinds.append((same, f"of {key.script} on {gpus} by {key.user}"))
    kinds.append(((key.user, key.gpus), f"on {gpus} by {key.user}"))
    if key.limit_s is not None:
        kinds.append(((key.gpus, "limit", key.limit_s), f"on {gpus} with this time limit"))
    kinds.append((key.gpus, f"on {gpus} by anybody"))
    return tuple(kinds)
