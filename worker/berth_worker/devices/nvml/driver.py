"""The NVIDIA driver and its GPUs, used by one thread."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any

import pynvml
import structlog

from berth_worker.devices.nvml import gpu as gpus
from berth_worker.devices.nvml import links, xids
from berth_worker.devices.nvml.calls import (
    DriverGoneError,
    GpuLostError,
    close_driver,
    open_driver,
    query,
    require,
)
from berth_worker.devices.nvml.gpu import Gpu
from berth_worker.devices.nvml.readings import Readings

_BUSY_S = 1.0
_IDLE_S = 30.0
_HEALTH_S = 30.0
_AGAIN_S = 5.0
_VANISHED = "The driver no longer lists the GPU; reboot the box."
_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class DriverSnapshot:
    """Copy of the GPUs at one moment, for other threads."""

    gpus: tuple[Gpu, ...]
    """Copies, in index order."""
    links: tuple[tuple[str, ...], ...]
    driver_version: str | None


class Driver:
    """
    Connection to the driver, reopened when the driver was gone.

    Only its own thread calls it, because a faulty driver can block its caller for seconds.
    """

    def __init__(
        self,
        on_xid: Callable[[str, int], None],
        trusted: Callable[[int], bool],
        is_harmless: Callable[[int, int | None], bool],
    ) -> None:
        """
        `on_xid` gets UUID and number, in the listener's thread.

        `trusted` returns whether a pid names the process that is on the GPU, `is_harmless` whether
        a process of so much memory leaves the GPU to jobs.
        """
        self._trusted = trusted
        self._is_harmless = is_harmless
        self._on_xid = on_xid
        self._gpus: list[Gpu] = []
        self._links: tuple[tuple[str, ...], ...] = ()
        self._version: str | None = None
        self._listener: xids.XidListener | None = None
        self._gone: str | None = "The NVIDIA driver has not been opened yet."
        self._open_due = 0.0

    def open(self) -> None:
        """Open the driver and list its GPUs. Raises DriverGoneError."""
        self._open_due = time.monotonic() + _AGAIN_S
        open_driver()
        try:
            version = query(pynvml.nvmlSystemGetDriverVersion)
            present = [
                gpus.find(index, self._is_harmless)
                for index in range(require(pynvml.nvmlDeviceGetCount))
            ]
            for gpu in present:
                if gpu.handle is not None:
                    gpu.read_cheap()
                    gpu.read_expensive()
                    gpu.read_health()
                self._plan_next(gpu)
            self._recognise(present)
            known = {gpu.uuid for gpu in present}
            vanished = [gpu for gpu in self._gpus if gpu.uuid not in known and not gpu.is_nameless]
            everyone = present + vanished
            handles = [None if gpu in vanished else gpu.handle for gpu in everyone]
            matrix = links.matrix(handles, [gpu.pci_bus_id for gpu in everyone])
        except (DriverGoneError, GpuLostError) as error:
            close_driver()
            raise DriverGoneError(str(error)) from None
        # CUDA counts without the GPUs that have vanished, so they stand at the end.
        for offset, gpu in enumerate(vanished):
            gpu.index, gpu.handle, gpu.lost = len(present) + offset, None, _VANISHED
        self._gpus, self._links, self._version = everyone, matrix, version
        self._gone = None
        self._listen()

    def close(self) -> None:
        """Close the driver."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        if self._gone is None:
            close_driver()

    def snapshot(self) -> DriverSnapshot:
        """Read the cheap values of every GPU."""
        try:
            if self._gone is None:
                for gpu in self._gpus:
                    if gpu.handle is not None and gpu.lost is None:
                        was_busy = gpu.busy
                        gpu.read_cheap()
                        if gpu.lost is not None:
                            self._plan_next(gpu, after_s=_AGAIN_S)
                        elif gpu.busy and not was_busy:
                            gpu.readings_due = 0.0
        except DriverGoneError as error:
            self._lose(str(error))
        if self._gone is not None:
            self._reopen()
        return self._copy()

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """Return whether `pids` have left the GPUs and no unexplained memory is in use there."""
        try:
            for gpu in self._gpus:
                if gpu.uuid not in uuids or gpu.handle is None or self._gone is not None:
                    continue
                gpu.read_cheap()
                gpu.read_graphics()
                if gpu.lost is not None:
                    continue
                if gpu.leftover_bytes or not set(pids).isdisjoint(u.pid for u in gpu.uses):
                    return False
                # A pid of another namespace cannot be attributed to a process.
                if not all(self._trusted(use.pid) for use in gpu.users):
                    return False
        except DriverGoneError as error:
            self._lose(str(error))
        return True

    def chore(self) -> float:
        """
        Do the reading that is most overdue; takes at most a few milliseconds.

        Returns the seconds until the next one is due; 0 when one is due now.
        """
        now = time.monotonic()
        if self._gone is not None:
            self._reopen()
            return max(0.0, self._open_due - time.monotonic())
        try:
            due = [gpu for gpu in self._gpus if gpu.lost != _VANISHED]
            if not due:
                return _IDLE_S
            gpu = min(due, key=lambda c: min(c.readings_due, c.health_due))
            if gpu.lost is not None and min(gpu.readings_due, gpu.health_due) <= now:
                self._try_again(gpu)
            elif gpu.readings_due <= now:
                gpu.read_expensive()
                gpu.readings_due = now + _until_next(gpu)
            elif gpu.health_due <= now:
                gpu.read_health()
                gpu.health_due = now + _HEALTH_S
        except DriverGoneError as error:
            self._lose(str(error))
            return _AGAIN_S
        soonest = min(min(c.readings_due, c.health_due) for c in due)
        return max(0.0, soonest - time.monotonic())

    def note_xid(self, uuid: str, number: int) -> None:
        """Record an Xid event and make the GPU's health due at once."""
        for gpu in self._gpus:
            if gpu.uuid == uuid:
                sentence = xids.sentence(number)
                if sentence is not None:
                    gpu.xids[number] = sentence
                gpu.health_due = 0.0

    def _try_again(self, gpu: Gpu) -> None:
        """Take a lost GPU back if it answers again (it was reset)."""
        self._plan_next(gpu, after_s=_AGAIN_S)
        found = gpus.find(gpu.index, self._is_harmless)
        if found.lost is None and found.handle is not None:
            found.read_cheap()
        if found.lost is not None:
            gpu.lost = found.lost
            return
        if found.uuid != gpu.uuid and not gpu.is_nameless:
            return
        # A new object without Xid errors: a reset is what serious ones ask for.
        found.floor_bytes = gpu.floor_bytes
        self._gpus[self._gpus.index(gpu)] = found
        self._listen()
        _log.info("a lost GPU is back", action="gpu.back", gpu_uuid=found.uuid)

    def _recognise(self, present: list[Gpu]) -> None:
        """Give a GPU without a readable UUID the one that it had at this index."""
        named = {gpu.uuid for gpu in present}
        for at, gpu in enumerate(present):
            for before in self._gpus:
                if gpu.is_nameless and before.index == gpu.index and before.uuid not in named:
                    present[at] = dataclasses.replace(before, handle=None, lost=gpu.lost)

    def _listen(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        handles: dict[str, Any] = {
            gpu.uuid: gpu.handle for gpu in self._gpus if gpu.handle is not None
        }
        try:
            self._listener = xids.XidListener(handles, self._on_xid)
        except (DriverGoneError, GpuLostError):
            # Without events the health readings still show errors, half a minute later.
            self._listener = None

    def _plan_next(self, gpu: Gpu, after_s: float | None = None) -> None:
        now = time.monotonic()
        gpu.readings_due = now + (_until_next(gpu) if after_s is None else after_s)
        gpu.health_due = now + (_HEALTH_S if after_s is None else after_s)

    def _lose(self, sentence: str) -> None:
        _log.warning("the NVIDIA driver is gone", action="nvml.gone", reason=sentence)
        self._gone = sentence
        self._open_due = time.monotonic() + _AGAIN_S
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        close_driver()
        for gpu in self._gpus:
            gpu.compute = ()
            gpu.readings = Readings(power_limit_w=gpu.readings.power_limit_w)

    def _reopen(self) -> None:
        if time.monotonic() < self._open_due:
            return
        try:
            self.open()
        except DriverGoneError as error:
            self._gone = str(error)
        else:
            _log.info("the NVIDIA driver is back", action="nvml.back", gpus=len(self._gpus))

    def _copy(self) -> DriverSnapshot:
        copies = tuple(
            dataclasses.replace(gpu, xids=dict(gpu.xids), lost=self._gone or gpu.lost)
            for gpu in self._gpus
        )
        return DriverSnapshot(copies, self._links, self._version)


def _until_next(gpu: Gpu) -> float:
    """Return the seconds between two readings of the expensive values."""
    # Utilisation still shows the last kernels of a job that has just ended: read it once more.
    return _BUSY_S if gpu.busy or gpu.readings.utilization_percent else _IDLE_S
