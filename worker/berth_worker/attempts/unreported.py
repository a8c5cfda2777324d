"""The attempts that have changed since the last report to the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from berth.protocol.internal import ObservedAttempt


class Observable(Protocol):
    """An attempt that can be reported."""

    def observed(self) -> ObservedAttempt | None:
        """Return the attempt for a report; None while there is nothing to report."""
        ...


class Unreported:
    """Names of the attempts that the next report has to hold."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        """Note that an attempt has changed."""
        self._names.add(name)

    def taken_from(
        self, attempts: Mapping[str, Observable], *, everything: bool
    ) -> tuple[ObservedAttempt, ...]:
        """Return the attempts to report: `everything`, or those changed since the last call."""
        names, self._names = self._names, set()
        reported = (
            attempt.observed() for name, attempt in attempts.items() if everything or name in names
        )
        return tuple(one for one in reported if one is not None)
