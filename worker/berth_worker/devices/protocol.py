"""The protocol of a device layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from berth.protocol.gpus import BoxSnapshot


class DevicesError(Exception):
    """The GPUs cannot be monitored as configured; the message is one sentence that names the fix."""


@dataclass(frozen=True, slots=True)
class AttemptProcesses:
    """The lease and the known processes of an attempt that may be on GPUs."""

    attempt: str
    """`42.1`."""
    gpu_uuids: tuple[str, ...]
    """Its lease, in index order."""
    pids: frozenset[int]
    """Pids that are certainly its own; the shim and the first process are enough."""
    uid: int | None = None
    """The user it runs as; marks in the environments of other users' processes are ignored."""


class Devices(Protocol):
    """
    The GPUs of the box.

    Methods are quick (a few milliseconds) and never raise because of a GPU's or the driver's
    state: what cannot be read is absent, what is broken is unhealthy. One thread calls them.
    """

    @property
    def source(self) -> Literal["nvml", "simulated", "slurm"]:
        """The source of the snapshots."""
        ...

    def snapshot(self, attempts: Mapping[str, AttemptProcesses]) -> BoxSnapshot:
        """
        Return the present state of the box.

        Processes that belong to one of `attempts`, or to any other attempt by their
        environment, carry its id; the rest are outsiders.
        """
        ...

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """
        Return whether an ended attempt has left its GPUs: a quick check, repeated until True.

        True when none of `pids` is on these GPUs and no unexplained memory is in use there. A GPU
        that cannot be read counts as left: it is unhealthy, and nothing is placed there.
        """
        ...

    def close(self) -> None:
        """Close the driver; the object cannot be used afterwards."""
        ...
