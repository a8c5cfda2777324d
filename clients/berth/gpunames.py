"""Names of GPUs in sentences, from their indices."""

from __future__ import annotations

from collections.abc import Iterable

_DASH = "\N{EN DASH}"


def runs(numbers: Iterable[int]) -> list[list[int]]:
    """The numbers ascending, neighbours together."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def ranges(indices: Iterable[int]) -> str:
    """Indices ascending, neighbours as one run: `0\N{EN DASH}3, 6`; empty for none."""
    return ", ".join(
        f"{run[0]}{_DASH}{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs(indices)
    )


def named(indices: Iterable[int]) -> str:
    """`GPU 3`, `GPUs 0\N{EN DASH}3, 6`, `no GPU`."""
    numbers = list(indices)
    if not numbers:
        return "no GPU"
    return f"{'GPU' if len(numbers) == 1 else 'GPUs'} {ranges(numbers)}"
