"""Atomic file writes: a reader sees the whole file or none."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast


def write_json(path: Path, value: Any) -> None:
    """
    Write `value` under a temporary name, flush it to disk, then rename it to `path`.

    A number that is not finite becomes null: JSON has no word for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(strict(value), file, ensure_ascii=False, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def strict(value: Any) -> Any:
    """Return plain data with None in place of every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in cast("list[Any]", value)]
    return value
