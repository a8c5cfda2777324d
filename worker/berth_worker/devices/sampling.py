"""Sampling of the devices in a thread: a driver call may take long."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import anyio
import anyio.to_thread

from berth.protocol.gpus import BoxSnapshot, GpuSnapshot
from berth_worker.devices import AttemptProcesses, Devices

_MEMORY_STEP_BYTES = 256 << 20


class Sampler:
    """The devices, for one caller at a time, with their latest snapshot."""

    def __init__(
        self, devices: Devices, attempts: Callable[[], Mapping[str, AttemptProcesses]]
    ) -> None:
        """`attempts` returns the attempts that may be on the GPUs now."""
        self._devices = devices
        self._attempts = attempts
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self.latest: BoxSnapshot | None = None

    @property
    def gpus(self) -> tuple[GpuSnapshot, ...]:
        """All GPUs of the box, as last seen."""
        return self.latest.gpus if self.latest is not None else ()

    async def sample(self) -> BoxSnapshot:
        """Take a snapshot."""
        attempts = dict(self._attempts())
        self.latest = await anyio.to_thread.run_sync(
            self._devices.snapshot, attempts, limiter=self._one_at_a_time
        )
        return self.latest

    async def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """Return whether an ended attempt has left its GPUs."""
        return await anyio.to_thread.run_sync(
            self._devices.clear, uuids, pids, limiter=self._one_at_a_time
        )


def differs(now: BoxSnapshot, before: BoxSnapshot | None) -> bool:
    """Return whether a snapshot differs from the one before in anything but noise."""
    return before is None or _essence(now) != _essence(before)


def _essence(snapshot: BoxSnapshot) -> tuple[object, ...]:
    free = snapshot.host_memory_available_bytes
    return (
        snapshot.source,
        snapshot.driver_version,
        snapshot.gpus,
        snapshot.links,
        # Host memory moves all the time and decides nothing.
        None if free is None else free // _MEMORY_STEP_BYTES,
    )
