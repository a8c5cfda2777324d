"""How long a job may run: what history says, and what a running job's survival adds to it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """Possible run times, each as likely as the others."""

    samples_s: tuple[float, ...]
    """Seconds, ascending, at least one."""
    source: str = "earlier runs"
    """For people, e.g. "12 earlier runs of train.py on 4 GPUs by ada"."""

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
