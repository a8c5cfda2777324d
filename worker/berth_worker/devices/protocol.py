"""What a device layer promises, whatever is below it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from berth.protocol.gpus import BoxSnapshot


class DevicesError(Exception):
    """The GPUs cannot be watched as asked; the message is one sentence that names the mend."""


@dataclass(frozen=True, slots=True)
class AttemptProcesses:
    """What the worker knows of an attempt that may be on GPUs."""

    attempt: str
    """`42.1`."""
    gpu_uuids: tuple[str, ...]
    """Its lease, in index order."""
    pids: frozenset[int]
    """Pids that are certainly its own; the shim and the first process are enough."""
    uid: int | None = None
    """As whom it runs; marks in the environments of other users' processes are not believed."""


class Devices(Protocol):
    """
    The GPUs of the box.

    Methods are quick (a few milliseconds) and never raise because of a GPU's or the driver's
    state: what cannot be read is absent, what is broken is unhealthy. One thread calls them.
    """

    @property
    def source(self) -> Literal["nvml", "simulated"]:
        """What stands behind the snapshots."""
        ...

    def snapshot(self, attempts: Mapping[str, AttemptProcesses]) -> BoxSnapshot:
        """
        The box now.

        Processes that belong to one of `attempts`, or to any other attempt by their
        environment, carry its id; the rest are outsiders.
        """
        ...

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """
        Whether an ended attempt has left its GPUs: a quick look, asked until it is true.

        True when none of `pids` is on the GPUs named and no memory is in use there that no
        process explains. A GPU that cannot be read counts as left: it is unhealthy, and
        nothing is placed there.
        """
        ...

    def close(self) -> None:
        """Let go of the driver; the object is of no use afterwards."""
        ...
