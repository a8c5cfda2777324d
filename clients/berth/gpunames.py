"""GPUs as sentences name them."""

from __future__ import annotations

from collections.abc import Iterable

_DASH = "\N{EN DASH}"


def ranges(indices: Iterable[int]) -> str:
    """Indices ascending, neighbours as one run: `0\N{EN DASH}3, 6`; empty for none."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}{_DASH}{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def named(indices: Iterable[int]) -> str:
    """`GPU 3`, `GPUs 0\N{EN DASH}3, 6`, `no GPU`."""
    numbers = list(indices)
    if not numbers:
        return "no GPU"
    return f"{'GPU' if len(numbers) == 1 else 'GPUs'} {ranges(numbers)}"
