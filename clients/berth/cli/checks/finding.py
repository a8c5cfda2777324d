"""Finding of `berth doctor`: one line of its report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The thing checked, whether it is well, and how to fix it."""

    what: str
    level: Level
    sentence: str
    fix: str | None = None

    def facts(self) -> dict[str, str | None]:
        """For `--json`."""
        facts = asdict(self)
        return {**facts, "mend": facts.pop("fix")}


def ok(what: str, sentence: str) -> Finding:
    """The thing checked is well."""
    return Finding(what, "ok", sentence)


def warn(what: str, sentence: str, fix: str) -> Finding:
    """Berth works, but not as well as it could."""
    return Finding(what, "warn", sentence, fix)


def fail(what: str, sentence: str, fix: str) -> Finding:
    """Berth, or jobs, will not work."""
    return Finding(what, "fail", sentence, fix)
