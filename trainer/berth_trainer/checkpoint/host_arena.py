"""Host memory that checkpoints are copied to: pinned once, in the background."""

import mmap
import threading
from collections.abc import Sequence
from typing import Any

import torch

_BLOCK = 1 << 28
"""Bytes pinned at a time: the driver holds a lock meanwhile, which the training also needs."""


class HostArena:
    """
    Memory for one copy of a rank's states.

    Pinned memory takes a copy from the GPU at full speed (55 GB/s on an H200, 1.3 without), but
    pinning takes half a second a GiB: so it is done once, by a thread, while the first steps run.
    """

    def __init__(self, size: int, *, device: "torch.device | None") -> None:
        """`device`: the GPU whose states are copied; None where they lie on the host."""
        self.size = -(-size // _BLOCK) * _BLOCK
        self._memory = torch.frombuffer(mmap.mmap(-1, self.size), dtype=torch.uint8)
        self._device = device
        self._thread = threading.Thread(target=self._prepare, name="pin host memory", daemon=True)
        self._thread.start()

    def hold(self, sources: Sequence[torch.Tensor], start: int) -> list[torch.Tensor]:
        """
        Copy the bytes of `sources` to the arena from `start` on; return where they lie.

        The copies from a GPU are complete when this returns.
        """
        self._thread.join()
        held: list[torch.Tensor] = []
        for source in sources:
            place = self._memory[start : start + source.numel()]
            self._copy(source, place, start)
            held.append(place)
            start += aligned(source.numel())
        if self._device is not None:
            torch.cuda.current_stream(self._device).synchronize()
        return held

    def _copy(self, source: torch.Tensor, place: torch.Tensor, start: int) -> None:
        """Copy block by block: one copy must not span two pinned ranges."""
        done = 0
        while done < source.numel():
            until = min(source.numel(), ((start + done) // _BLOCK + 1) * _BLOCK - start)
            place[done:until].copy_(source[done:until], non_blocking=True)
            done = until

    def _prepare(self) -> None:
        for start in range(0, self.size, _BLOCK):
            block = self._memory[start : start + _BLOCK]
            block.zero_()  # touched first: then pinning it is quick
            if self._device is not None:
                with torch.cuda.device(self._device):
                    runtime: Any = torch.cuda.cudart()
                    runtime.cudaHostRegister(block.data_ptr(), _BLOCK, 0)


def aligned(size: int) -> int:
    """Return `size` up to the next page."""
    return -(-size // 4096) * 4096


def size_for(sources: Sequence[torch.Tensor]) -> int:
    return sum(aligned(source.numel()) for source in sources)
