"""Training sampler with the same order on any number of ranks."""

from collections.abc import Iterator

import numpy as np


class RankIndependentSampler:
    """
    Sampler of every sample once per epoch, in an order that only seed and epoch decide.

    The last step is filled with samples from the epoch's beginning up to `per_step`, so that
    one, two and four ranks with the same samples per step learn the same in every step, the
    last of an epoch included: left to the loader, the filling depends on the number of ranks.
    """

    def __init__(self, count: int, *, per_step: int, seed: int) -> None:
        self._count, self._per_step, self._seed = count, per_step, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the loader calls this before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._count // self._per_step) * self._per_step

    def __iter__(self) -> Iterator[int]:
        # RandomState, not Generator: numpy promises its stream for ever.
        order = np.random.RandomState([self._seed, self._epoch]).permutation(self._count)
        for place in range(len(self)):
            yield int(order[place % self._count])
