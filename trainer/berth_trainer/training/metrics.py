"""Writer of `metrics.jsonl`: one JSON object per line."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class MetricsFile:
    """Appends to the same file in several folders. For rank 0; a full disk never ends a run."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths = [folder / "metrics.jsonl" for folder in folders]
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append `step`, `time` (unix seconds) and the finite numbers among `values`."""
        line = {"step": step, "time": round(time.time(), 3)}
        line |= {name: value for name, value in values.items() if _is_number(value)}
        text = json.dumps(line) + "\n"
        for path in self._paths:
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError:
                continue


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where that overflows."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
