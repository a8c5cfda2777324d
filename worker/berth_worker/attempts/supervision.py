"""The protocol of what supervises attempts: on this box, or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from berth.protocol.internal import DesiredState, ObservedAttempt
from berth_worker.devices import AttemptProcesses


class Supervision(Protocol):
    """All attempts that the server wants."""

    def apply(self, desired: DesiredState) -> None:
        """Take in a new desired state and act on it."""
        ...

    def look(self) -> None:
        """Look again at what attempts have done; called after every sample of the devices."""
        ...

    def observed(self, *, everything: bool) -> tuple[ObservedAttempt, ...]:
        """Return the attempts to report: `everything`, or those changed since the last call."""
        ...

    @property
    def has_attempts(self) -> bool:
        """True when the server wants any."""
        ...

    def processes(self) -> Mapping[str, AttemptProcesses]:
        """Return the processes of this box that may be on GPUs, by attempt."""
        ...

    def add_seen_pid(self, attempt: str, pid: int) -> None:
        """Note that a process of an attempt was seen on a GPU."""
        ...

    def lease(self, attempt: str) -> frozenset[str]:
        """Return the UUIDs of the GPUs that an attempt holds."""
        ...
