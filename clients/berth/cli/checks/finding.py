"""One line of `berth doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and how to mend it."""

    what: str
    level: Level
    sentence: str
    mend: str | None = None

    def facts(self) -> dict[str, str | None]:
        """For `--json`."""
        return asdict(self)


def ok(what: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(what, "ok", sentence)


def warn(what: str, sentence: str, mend: str) -> Finding:
    """Berth works, something is worse than it could be."""
    return Finding(what, "warn", sentence, mend)


def fail(what: str, sentence: str, mend: str) -> Finding:
    """Berth, or jobs, will not work."""
    return Finding(what, "fail", sentence, mend)
