"""Job ids as people write them: `42`, `42.1` for one attempt, `40-44` for several."""

from __future__ import annotations

import re
from typing import Annotated

from berth.cli.declare import Argument
from berth.cli.failure import Failure

_RANGE = re.compile(r"#?(\d+)(?:(?:-|\.\.)#?(\d+))?")
_ONE = re.compile(r"#?(\d+)(?:\.(\d+))?")
_MOST = 10_000


def complete(incomplete: str) -> list[tuple[str, str]]:
    """Return ids of recent jobs with their names, for shell completion; nothing without a server."""
    from berth.cli.whole import completion

    return completion.jobs(incomplete)


JobId = Annotated[
    str,
    Argument(metavar="JOB", help="Job id, or one attempt like 42.1.", autocompletion=complete),
]
JobIds = Annotated[
    list[str],
    Argument(metavar="JOB", help="Job ids, or ranges of them like 40-44.", autocompletion=complete),
]


def one(word: str) -> tuple[int, int | None]:
    """Return the job id, and the attempt number if one is named."""
    match = _ONE.fullmatch(word)
    if match is None:
        raise Failure(
            f"{word!r} is not a job id; write a number like 42, or 42.1 for its first attempt."
        )
    return int(match[1]), int(match[2]) if match[2] else None


def several(words: list[str]) -> list[int]:
    """Return the job ids in the order given, each once."""
    found: dict[int, None] = {}
    for word in words:
        match = _RANGE.fullmatch(word)
        if match is None:
            raise Failure(f"{word!r} is not a job id; write numbers like 42, or 40-44 for several.")
        first = int(match[1])
        last = int(match[2] or first)
        if last < first or last - first >= _MOST:
            raise Failure(
                f"{word!r} is not a range of job ids; write the smaller number first, and at most 10,000 ids."
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)
