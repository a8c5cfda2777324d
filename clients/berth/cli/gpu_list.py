"""GPU lists as people write them: `3`, `0-3`, `0,2`, a UUID."""

from __future__ import annotations

import re
from typing import Annotated

from berth.cli.declare import Argument
from berth.cli.whole import completion

GpuNames = Annotated[
    list[str],
    Argument(
        metavar="GPU",
        help="Indices or UUIDs; ranges like 0-3.",
        autocompletion=completion.gpus,
    ),
]
# The en dash is the one that other verbs print, so copied ranges work.
_RANGE = re.compile(r"(\d{1,4})[-\N{EN DASH}](\d{1,4})")


def gpu_names(words: list[str]) -> list[str]:
    """Return every GPU named, ranges written out, each once; UUIDs as they are."""
    names: list[str] = []
    for part in (part.strip() for word in words for part in word.split(",")):
        if not part:
            continue
        span = _RANGE.fullmatch(part)
        if span is None:
            names.append(part)
            continue
        first, last = sorted(int(end) for end in span.groups())
        names += [str(index) for index in range(first, last + 1)]
    return list(dict.fromkeys(names))
